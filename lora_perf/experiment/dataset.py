"""The data set of an experiment: opened as it is, or as its packed form in the cache folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import xxhash

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.provenance import code_version
from lora_perf.core.resources import memory_left
from lora_perf.core.showing import size
from lora_perf.core.zoo import Hashed, Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.observer import Observer
from lora_perf.io import is_hub, load, locate, open_located, store
from lora_perf.io.checked import count_as_absent
from lora_perf.io.paths import Found
from lora_perf.representations import REPRESENTATIONS
from lora_perf.zoos import EMBEDDED

# Of the memory that is left, what the rows of a zoo may fill: features and classifiers need the rest.
_SHARE = 0.3


def read_in_order(representations: Iterable[str]) -> bool:
    """Whether these are all made in one pass, so that rows are never asked for in another order."""
    wanted = [REPRESENTATIONS[name] for name in representations]
    return all(one.streamed and all(REPRESENTATIONS[part].stored for part in one.parts) for one in wanted)


def at_hand(zoo: Zoo, representations: Iterable[str]) -> bool:
    """Whether the rows of a zoo can be had in any order: in memory or mapped, or small enough to be read into memory.

    Where all representations are made in one pass, rows are only ever read in order, and it does not matter.
    """
    return read_in_order(representations) or zoo.in_memory or zoo.source.mapped or zoo.nbytes <= _SHARE * memory_left()


def packed_zoo(config: ExperimentConfig, zoo: Zoo, observer: Observer) -> Zoo:
    """A zoo that does not fit in memory as its packed form in the cache folder, which is made now if it is not there yet.

    Raises:
        LoraPerfError: there is no such folder, or its disk is too small; nothing is written then.
    """
    path = packed_path(config) if config.dataset else None
    if path is None or not config.cache_features:
        raise LoraPerfError(
            expected=f"memory for {size(zoo.nbytes)} of rows, or a folder to pack them into",
            found=f"{size(memory_left())} left and no folder",
            fix="give a path as source and cache_dir, leave --no-cache-features out, or pack it first: zoo.save(PATH)",
        )
    observer.packing(path, len(zoo), zoo.nbytes)
    return store.open_packed(path, _pack(config, zoo, path, observer.packed))


def packed_path(config: ExperimentConfig, found: Found | None = None) -> Path | None:
    """Where `--preprocess-only` keeps the packed form of the data set; None where that is packed already.

    What stands at a path is known by its files, their sizes and times, a Hub data set by its id; the code that reads them
    counts too, since what it makes of a file may change.

    Args:
        found: what stands at the path of the data set, where that is known already.
    """
    if config.dataset in EMBEDDED:
        return None
    found = locate(config.dataset) if found is None else found
    settings = [str(config.label_column), *["skip bad"] * config.skip_bad]
    if found is None or found.kind != "packed":
        settings.append(code_version("io"))
    if found is None:
        key = xxhash.xxh3_128_hexdigest("|".join([config.dataset, *settings]).encode("utf-8", "surrogateescape"))
    elif found.kind == "packed":
        return None
    else:
        key = found.identity(*settings)
    return config.cache / f"zoo-{key}.safetensors"


def open_zoo(config: ExperimentConfig, *, anew: bool = False) -> Zoo:
    """The zoo of an experiment: its packed form where `--preprocess-only` made one, else the data set itself.

    Args:
        anew: leave the packed form alone. One that cannot be opened counts as none, with a warning.
    """
    found = locate(config.dataset)
    packed = packed_path(config, found)
    if packed is not None and packed.exists() and not anew:
        try:
            return store.open_packed(packed)
        except LoraPerfError as error:
            count_as_absent(packed, error.found)
    if found is None:
        wanted = config.cache_features and not config.skip_bad and is_hub(config.dataset)
        if packed is not None and wanted and (hashed := _arrived(config, packed)) is not None:
            return store.open_packed(packed, hashed)
        return load(config.dataset, label_column=config.label_column, skip_bad=config.skip_bad)
    return open_located(found, label_column=config.label_column, skip_bad=config.skip_bad)


def _arrived(config: ExperimentConfig, packed: Path) -> Hashed | None:
    """Fetches a data set of the Hub into its packed form; None where it is taken from the cache of `datasets` instead."""
    from lora_perf.io.arriving import arrived
    from lora_perf.io.hub import in_cache

    if in_cache(config.dataset):
        return None
    return arrived(config.dataset, packed, label_column=config.label_column, split=None)


def preprocess(config: ExperimentConfig) -> Path:
    """Packs the data set into the cache folder; returns the packed file, which is there already for packed sources."""
    packed = packed_path(config)
    if packed is None:
        return EMBEDDED.get(config.dataset, Path(config.dataset))
    if not _is_whole(packed):
        zoo = open_zoo(config, anew=True)
        if zoo.promise is None or zoo.promise.path != str(packed):  # of the Hub it may have been made just now
            _pack(config, zoo, packed)
    return packed


def _pack(config: ExperimentConfig, zoo: Zoo, path: Path, progress: Callable[[int], object] | None = None) -> Hashed:
    found = store.write(zoo, path, progress, config.scheduler)
    if packed_path(config) != path:
        path.unlink(missing_ok=True)
        raise LoraPerfError(
            expected=f"a data set at {config.dataset} that stands still",
            found="files that changed while they were packed",
            fix="start again when nobody writes there",
        )
    return found


def _is_whole(packed: Path) -> bool:
    """Whether a packed file is there and is what was packed."""
    if not packed.exists():
        return False
    try:
        store.verify(packed)
    except LoraPerfError as error:
        count_as_absent(packed, error.found)
        return False
    return True
