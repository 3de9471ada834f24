"""What an experiment fills of memory and disk: arithmetic on its sizes, before anything is read or written."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lora_perf.classifiers import CLASSIFIERS
from lora_perf.classifiers.perceptron.network import run_nbytes
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.resources import disk_left, memory_left
from lora_perf.core.showing import size
from lora_perf.core.stored import STORED_NBYTES
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.dataset import at_hand, packed_path, read_in_order
from lora_perf.experiment.plan import Plan
from lora_perf.representations import REPRESENTATIONS, count

INTERPRETER = 450 << 20  # Python with torch and the readers of data sets, beside all of this
_BLOCKS = 200 << 20  # of a pass: blocks and their temporaries
_REPORT = 4 << 20  # figures and tables
_FITTED = 256  # features of a learned representation, before they are known
_CELL = 1 << 20  # of a finished cell: curves, predictions


@dataclass(frozen=True)
class Room:
    """Bytes.

    Attributes:
        rows: of the zoo, where they are read into memory.
        features: that the pass makes and that stay.
        training: of as many runs as train at a time, of the widest cell.
        at_least: what there must be: the features, and one run.
        packed, caches, results: files that are written.
        widest: the representation of the widest cell.
    """

    rows: int
    features: int
    training: int
    at_least: int
    packed: int
    caches: int
    results: int
    widest: str

    @property
    def memory(self) -> int:
        """The most at a time."""
        return self.rows + self.features + max(self.training, _BLOCKS)

    @property
    def disk(self) -> int:
        return self.packed + self.caches + self.results


def room_of(config: ExperimentConfig, plan: Plan, zoo: Zoo, device: torch.device) -> Room:
    """What the cells of a plan fill; learned representations count with what they leave."""
    n, names = len(zoo), plan.representations
    held: dict[str, int] = {}  # features by name, and what a cache keeps of them
    cached: dict[str, int] = {}
    for one in (REPRESENTATIONS[name] for name in names):
        if not one.streamed:  # fitted when it runs, group by group
            widths = [each.features or _FITTED for each in plan.cells if each.cell.representation == one.name]
            cached[one.name], held[one.name] = 4 * n * sum(set(widths)), 4 * n * max(widths, default=0)
            continue
        draws = config.draws if one.drawn else 1
        of_parts = {part: draws * 4 * n * (count(part, zoo.layout, plan.layers) or 0) for part in one.parts}
        kept = {part: nbytes for part, nbytes in of_parts.items() if REPRESENTATIONS[part].stored}
        cached |= kept
        held |= kept if one.parts == (one.name,) else kept | {one.name: sum(of_parts.values())}  # a copy of its parts
    in_place = read_in_order(names) or zoo.in_memory or zoo.source.mapped or not at_hand(zoo, names)
    rows = 0 if in_place else zoo.nbytes
    trained = [one for one in plan.cells if CLASSIFIERS[one.cell.classifier].by_epochs and one.features is not None]
    widest = max(trained, key=lambda one: one.features or 0, default=None)
    width = (widest.features or 0) if widest is not None else 0
    one_run = run_nbytes((width, config.hidden_dim, len(zoo.classes)), config.training.layers) if widest is not None else 0
    at_once = min(config.num_runs, torch.get_num_threads())
    copied = min(4 * n * width, STORED_NBYTES)
    packed = packed_path(config) if config.dataset else None
    absent = not at_hand(zoo, names) and (packed is None or not packed.exists())
    features = sum(held.values())
    return Room(
        rows,
        features,
        at_once * one_run + copied,
        features + one_run,
        zoo.nbytes if absent else 0,
        sum(cached.values()) if config.cache_features else 0,
        _REPORT + _CELL * len(plan.cells),
        "" if widest is None else widest.cell.representation,
    )


def refuse_too_little(config: ExperimentConfig, plan: Plan, zoo: Zoo, device: torch.device) -> Room:
    """What an experiment fills, where that can be had.

    Raises:
        LoraPerfError: memory or disk that certainly does not suffice, and the flags that help.
    """
    room = room_of(config, plan, zoo, device)
    if device.type == "cpu" and room.at_least > memory_left():
        without = f"leave {room.widest} out of --representations, " if room.widest and len(plan.representations) > 1 else ""
        raise LoraPerfError(
            expected=f"at least {size(room.at_least)} of memory for this experiment",
            found=f"{size(memory_left())} left",
            fix=f"{without}choose fewer layers (--layer-groups, --sample-layers) or a smaller --hidden-dim",
        )
    for folder, needed in ((config.cache, room.packed + room.caches), (config.output_dir, room.results)):
        if needed > disk_left(folder):
            raise LoraPerfError(
                expected=f"{size(needed)} of room on the disk of {folder}",
                found=f"{size(disk_left(folder))} left",
                fix="choose another disk (--cache-dir, --output-dir), or keep less (--no-cache-features, --representations)",
            )
    return room
