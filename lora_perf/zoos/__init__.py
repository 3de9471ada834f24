"""Zoos that come with the package, and the programs that make zoos, which are imported by none but themselves.

Comes in: the settings of a zoo to make.
Goes out: the embedded zoos by their names; synthetic zoos, and zoos of digits, in files.
Import from here: `EMBEDDED`; `synthetic` for zoos of any size.
"""

import logging
from functools import partial
from pathlib import Path

from lora_perf.core.zoo import Zoo
from lora_perf.io import store
from lora_perf.io.readers import NAMED, Named

_DATA = Path(__file__).parent / "data"
_SANITY_CHECK = "sanity_check_dataset"  # the folder that the original's command names
_log = logging.getLogger(__name__)

EMBEDDED = {name: _DATA / f"{name}.safetensors" for name in ("digits", "digits-shared")}


def _mixed() -> Zoo:
    from lora_perf.zoos.halves import open_halves
    from lora_perf.zoos.training import layout

    return open_halves(_DATA / "digits-mixed.safetensors", layout)


def _stand_in() -> Zoo:
    from lora_perf.zoos import synthetic

    _log.warning("no folder %s here: a synthetic zoo of the same form stands in for it", _SANITY_CHECK)
    return synthetic.generate(synthetic.SyntheticConfig(Path(_SANITY_CHECK), preset="sanity-check"))


NAMED.update({name: Named(f"the embedded zoo {name}", partial(store.open_packed, path)) for name, path in EMBEDDED.items()})
NAMED["digits-mixed"] = Named("the embedded zoo digits-mixed", _mixed)
NAMED[_SANITY_CHECK] = Named("the synthetic zoo that stands in for it", _stand_in, hidden=True)
