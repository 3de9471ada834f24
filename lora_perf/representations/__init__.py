"""Representations: adapters -> features.

Each is a function of one matrix (layer), of one update dW = s B A (module) or of the train rows, and stands in one registry
under the name that serves everywhere: as function, registry key, CLI value, report row and benchmark name.

Comes in: a `Zoo`, with a split for what is fitted to the train rows.
Goes out: `Features` by the name of their representation; their cache.
Import from here: the registry, the protocol and the door for users' representations; `represent` from `streaming`.
"""

from lora_perf.representations.controls import NORM, Numbers, module_ranks
from lora_perf.representations.door import representation
from lora_perf.representations.factors import frequency, information, norms, spectral, statistics
from lora_perf.representations.factors.matrices import Matrices
from lora_perf.representations.kinds import Concatenation, Entries
from lora_perf.representations.learned import autoencoders, contrastive, kernel, pca, untrained
from lora_perf.representations.registry import (
    REPRESENTATIONS,
    Representation,
    count,
    expand,
    members,
    refuse_ranks,
)
from lora_perf.representations.updates import canonical, coupling, probes, projectors, sketch, spectra
from lora_perf.representations.updates.modules import Modules

_OF_PACKAGE: tuple[Representation, ...] = (
    # The ten of the original study, in its order.
    statistics.simple_stats,
    statistics.rank_based,
    statistics.stats,
    spectral.spectral,
    norms.matrix_norms,
    statistics.distribution,
    frequency.frequency,
    Entries("flat_vec"),
    information.info_theoretic,
    Concatenation("ensemble", ("spectral", "matrix_norms", "distribution", "frequency", "info_theoretic")),
    # Of dW.
    coupling.layer_coupling,
    spectra.dw_spectrum,
    spectra.dw_singular_values,
    spectra.dw_norms,
    spectra.dw_energy,
    sketch.dw_sketch,
    canonical.dw_canonical,
    probes.dw_gram_probe,
    projectors.up_projector,
    projectors.down_projector,
    projectors.dw_projector,
    # Learned.
    pca.pca,
    autoencoders.vae,
    autoencoders.denoising,
    contrastive.contrastive,
    kernel.dw_kernel,
    # Controls.
    Numbers("rank", module_ranks),
    NORM,
    *untrained.OF_LEARNED,
)
for _one in _OF_PACKAGE:
    REPRESENTATIONS.add(_one.name, _one)

__all__ = [
    "REPRESENTATIONS",
    "Matrices",
    "Modules",
    "Representation",
    "count",
    "expand",
    "members",
    "refuse_ranks",
    "representation",
]
