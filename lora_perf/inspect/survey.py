"""The inspection of a collection of adapters: its files, their weights, their repetitions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_perf.core.ambient import with_threads
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.profiling import stage
from lora_perf.core.settings import Progress, counting, silent
from lora_perf.core.zoo import SPLIT_NAMES, DamagedError, Hashed, Zoo
from lora_perf.distributed import refuse_scheduler
from lora_perf.inspect.files import open_files, zoo_of
from lora_perf.inspect.findings import Finding, Inspection
from lora_perf.inspect.gathering import Gathering
from lora_perf.io import load, locate, open_located
from lora_perf.io.files.strays import read_if_own
from lora_perf.io.files.tree import Tree
from lora_perf.io.opening import alone
from lora_perf.io.paths import Found
from lora_perf.io.splits import refuse_split
from lora_perf.representations.content import Content

if TYPE_CHECKING:
    from lora_perf.io import Source

NEAR = 0.99
_LOWEST_NEAR = 0.9  # below it most sketches of related adapters would be candidates


def run(
    source: Source,
    *,
    near: float = NEAR,
    label_column: str | None = "category_label",
    split: str | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """What there is to know of a collection of adapters before one learns on it, and what is wrong with it.

    >>> import lora_perf
    >>> found = lora_perf.inspect.run("digits")
    >>> found
    Inspection of digits: 1,000 adapters of 12 modules
      nothing wrong

    Args:
        source: a folder of adapter files, one such file, a `Zoo`, or whatever `lora_perf.load` opens.
        near: the cosine of two dW from which they count as near.
        label_column: the column of the labels, in data sets and in the metadata of adapter files.
        split: the part of a data set that has several; see `load`.
        threads: that compute; as many as torch takes by default.
        scheduler: HOST:PORT of a Dask scheduler, or "local:N" for N processes here, which read the weights; they see the
            source under the same path, and what is found is the same.
        progress: called with the name of a stage, how many adapters are done, and how many there are.

    Cost: the header of each file, one pass over the weights (see `content_of`) and a search (see `repeats_of`). Memory does
    not grow with the weights, only by some kilobytes an adapter.

    Raises:
        LoraPerfError: there is no collection of adapters here, or a data set that cannot be read; a bad adapter file is a
            finding.
    """
    if not _LOWEST_NEAR <= near < 1:
        raise LoraPerfError(expected=f"--near of at least {_LOWEST_NEAR} and below 1", found=str(near), fix="change --near")
    refuse_scheduler(scheduler)
    config = {
        "path": str(source) if isinstance(source, str | Path) else "",
        "near": near,
        "label_column": label_column,
        "split": split,
        "threads": threads,
        "scheduler": scheduler,
    }
    with with_threads(threads):
        return _found(source, config, progress or silent)


def _found(source: Source, config: Mapping[str, Any], tell: Progress) -> Inspection:
    begin = time.perf_counter()
    label_column, split = config["label_column"], config["split"]
    found = locate(source, split) if isinstance(source, str | Path) else None
    place = None if found is None else _adapter_files(found, split)
    if place is None:
        with stage("open"):
            if found is None:
                zoo = load(source, label_column=label_column, split=split)
            else:
                zoo = open_located(found, label_column=label_column, split=split)
        return _of_zoo(zoo, config, tell, time.perf_counter() - begin)
    folder, tree, single = place
    with stage("open"):
        files = open_files(folder, tree, label_column, single=single, progress=counting(tell, "open", len(tree.adapters)))
    gathering = Gathering(
        os.path.basename(str(source)) if single else os.path.basename(folder),
        files.classes,
        files.split,
        tell,
        config,
    )
    gathering.seconds["open"] = time.perf_counter() - begin
    gathering.problems += files.problems
    gathering.notes += files.notes
    for family in files.families:
        gathering.take(zoo_of(folder, family), [one.member.path for one in family])
    return gathering.inspection(files.facts)


def _of_zoo(zoo: Zoo, config: Mapping[str, Any], tell: Progress, seconds: float) -> Inspection:
    """The inspection of what is no folder of adapter files."""
    distinct = zoo.named and len(set(zoo.names)) == len(zoo)
    names = zoo.names if distinct else [zoo.called(i) for i in range(len(zoo))]
    classes = [] if zoo.labels is None else [zoo.classes[label] for label in zoo.labels.tolist()]
    parts = [] if zoo.split is None else [SPLIT_NAMES[part] for part in zoo.split.tolist()]
    gathering = Gathering(
        zoo.name,
        dict(zip(names, classes, strict=bool(classes))),
        dict(zip(names, parts, strict=bool(parts))),
        tell,
        config,
    )
    gathering.seconds["open"] = seconds
    content = gathering.take(zoo, names)
    gathering.problems[:0] = [*_damage(zoo, content), *_unpaired_layers(zoo)]
    return gathering.inspection()


def _damage(zoo: Zoo, content: Content) -> Iterable[Finding]:
    """Whether a packed file holds what was packed; of one of the first format by one more pass over its rows."""
    if zoo.promise is not None and not content.unread:
        try:
            if zoo.promise.sequential:
                _ = zoo.fingerprint
            else:
                zoo.promise.check(Hashed.of(zoo, content.hashes).fingerprint)
        except DamagedError as error:
            yield Finding("damaged", f"{error.found}: some weight is another one")


def _unpaired_layers(zoo: Zoo) -> Iterable[Finding]:
    paired = {layer.name for module in zoo.layout.modules for layer in (module.up, module.down)}
    single = [layer.name for layer in zoo.layout if layer.name not in paired]
    if single:
        yield Finding(
            "unpaired", f"{len(single)} of {len(zoo.layout)} layers without partner in every adapter: {listed(single, 3)}"
        )


def _adapter_files(found: Found, split: str | None) -> tuple[str, Tree, bool] | None:
    """The folder and the adapter files that are meant, and whether it is a single one; None for any other source."""
    path = os.path.abspath(found.path)
    if found.kind == "packed" and not read_if_own(path):
        return os.path.dirname(path), alone(Path(path)), True
    if found.kind != "adapters":
        return None
    refuse_split(split, f"the adapter files in {found.path}")
    return path, found.tree, False
