"""Data sets of the Hub as packed files, a shard at a time: fetched, decoded into its place, thrown away.

Beside the target stands a folder `.NAME.arriving` until all is there: the rows so far, what is left of each shard when its
weights are taken out (a sparse file that any parquet reader opens), and how many rows of which shards are written. The same
command goes on from there. Neither the caches of `datasets` nor those of the Hub's client are written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lora_perf.core.digest import Hashed, row_hashes
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.provenance import code_version
from lora_perf.io.atomic import cannot_write, replacing
from lora_perf.io.checked import refuse_small_disk
from lora_perf.io.claims import claim
from lora_perf.io.headers import open_file
from lora_perf.io.hub import Target, answers, target_of
from lora_perf.io.mapped import MappedRows, OpenFile
from lora_perf.io.packing import complete, put, write
from lora_perf.io.refusals import refusal
from lora_perf.io.splits import chosen, refuse_slice

_PAGE = 4096
_HEADER = 1 << 18  # bytes that are kept free for the header, beside the tables of whole numbers
_TABLES = 16  # bytes a row of these: label and split
_SPARE = 1.5  # times the rows that the first shard lets expect


@dataclass(frozen=True)
class Shipment:
    """The parquet files of a data set that are taken.

    Attributes:
        commit: of the repository.
        files: paths in the repository, in their order.
        parts: of `Zoo.split`, one a file, or None.
    """

    repository: str
    commit: str
    files: tuple[str, ...]
    parts: tuple[int | None, ...]

    @property
    def origin(self) -> str:
        return f"hf://datasets/{self.repository}@{self.commit}"


@dataclass
class _State:
    """What has arrived: of which shipment, its layers, the byte of the first row, the rows of each finished shard."""

    identity: str
    layout: str = ""
    place: int = 0
    rows: list[int] = field(default_factory=list)


def arrived(
    name: str,
    path: Path,
    *,
    label_column: str | None,
    split: str | None,
    progress: Callable[[int], object] | None = None,
) -> Hashed | None:
    """Fetches a data set of the Hub, by its id or alias, into a packed file (see `arrive`).

    Returns:
        None where it is no data set of parquet files, or the Hub does not answer: then a cache may still have it.
    """
    target = target_of(name)
    if not answers(target):
        return None
    shipment = shipment_of(target, split)
    if shipment is None:
        return None
    return arrive(shipment, path, label_column=label_column, name=name, progress=progress)


def shipment_of(target: Target, split: str | None) -> Shipment | None:
    """What would be fetched of a data set of the Hub; None where it is not one of parquet files.

    Raises:
        LoraPerfError: it cannot be had (no network, no such data set, no access, several configurations, no such split).
    """
    import datasets
    from datasets.packaged_modules.parquet.parquet import Parquet

    if split is not None:
        refuse_slice(split, target.repository)
    try:
        builder = datasets.load_dataset_builder(target.repository, **target.choices)
    except Exception as error:  # the Hub's clients raise dozens of kinds
        raise refusal(target.repository, error) from None
    files = builder.config.data_files or {}
    if not isinstance(builder, Parquet) or not files:
        return None
    start = f"hf://datasets/{target.repository}@"
    taken: list[tuple[str, int | None]] = []
    commits = set()
    for name, part in chosen([str(one) for one in files], split, target.repository):
        for address in files[name]:
            commit, _, path = str(address).removeprefix(start).partition("/")
            if not str(address).startswith(start) or not path:
                return None  # a file elsewhere
            commits.add(commit)
            taken.append((path, part))
    if len(commits) != 1:
        return None
    return Shipment(target.repository, commits.pop(), tuple(path for path, _ in taken), tuple(part for _, part in taken))


def arrive(
    shipment: Shipment,
    path: Path,
    *,
    label_column: str | None,
    name: str,
    progress: Callable[[int], object] | None = None,
) -> Hashed:
    """Fetches a data set of the Hub into a packed file; the same call goes on where one was interrupted.

    Memory: a decoded row group, and two shards on disk beside the rows.

    Args:
        progress: called with the number of rows after each block.

    Raises:
        LoraPerfError: a file that cannot be fetched, or is no data of adapters; shards of different layers; a disk that is
            too small, which the first shard tells.
    """
    folder = path.parent / f".{path.name}.arriving"
    with claim(folder):
        return _Arrival(shipment, folder, progress).whole(path, label_column, name)


class _Arrival:
    """A shipment on its way into a folder."""

    def __init__(self, shipment: Shipment, folder: Path, progress: Callable[[int], object] | None) -> None:
        self._shipment, self._folder, self._progress = shipment, folder, progress
        self._rows, self._hashes, self._shards = folder / "rows", folder / "hashes", folder / "shards"
        self._incoming = folder / "incoming"
        identity = json.dumps([asdict(shipment), code_version("io")])
        self._state = self._found(identity)

    def whole(self, path: Path, label_column: str | None, name: str) -> Hashed:
        from lora_perf.io.tables.parquet import open_parquet

        for number, file in self._fetched():
            self._take(number, file, path)
            file.unlink()
        places = [self._shards / file for file in self._shipment.files]
        parts = None if None in self._shipment.parts else self._shipment.parts
        # The layers were found shard by shard: what is asked now are labels, scales, names and all else.
        zoo = open_parquet(places, label_column=label_column, name=name, parts=parts, root=self._shards)
        descriptor, status = open_file(self._rows)
        zoo.source = MappedRows(OpenFile(descriptor, str(self._rows), status), self._state.place, len(zoo), zoo.layout.p)
        zoo.origin = self._shipment.origin
        hashes = np.fromfile(self._hashes, np.uint64).reshape(-1, 2)[: len(zoo)]
        found = complete(zoo, self._rows, self._state.place, hashes)
        try:
            if found is None:  # no room for its header
                found = write(zoo, path)
            else:
                os.replace(self._rows, path)
        except OSError as error:
            raise cannot_write(path, error) from None
        shutil.rmtree(self._folder, ignore_errors=True)
        return found

    def _found(self, identity: str) -> _State:
        """The state of an earlier call of the same shipment, or a new one."""
        with suppress(OSError, ValueError, TypeError):
            state = _State(**json.loads((self._folder / "state.json").read_text()))
            if state.identity == identity:
                return state
        for one in (self._rows, self._hashes, self._folder / "state.json"):
            one.unlink(missing_ok=True)
        for some in (self._shards, self._incoming):
            shutil.rmtree(some, ignore_errors=True)
        return _State(identity)

    def _fetched(self) -> Iterator[tuple[int, Path]]:
        """The shards that are missing, one after the other; the next one is fetched meanwhile."""
        missing = range(len(self._state.rows), len(self._shipment.files))
        with ThreadPoolExecutor(1, "hub") as pool:
            ahead = [pool.submit(self._fetch, number) for number in missing[:1]]
            for number in missing:
                file = ahead.pop().result()
                if number + 1 in missing:
                    ahead.append(pool.submit(self._fetch, number + 1))
                yield number, file

    def _fetch(self, number: int) -> Path:
        from huggingface_hub import hf_hub_download

        shipment = self._shipment
        try:
            found = hf_hub_download(
                shipment.repository,
                shipment.files[number],
                repo_type="dataset",
                revision=shipment.commit,
                local_dir=self._incoming,
            )
        except Exception as error:  # as in `shipment_of`
            told = refusal(shipment.repository, error)
            where = f"{shipment.files[number]}, file {number + 1} of {len(shipment.files)}"
            raise told.but(expected=f"{told.expected}, {where}", fix=f"{told.fix}; the same command goes on there") from None
        return Path(found)

    def _take(self, number: int, file: Path, path: Path) -> None:
        """Writes the rows of a shard at their place, and keeps the rest of it."""
        from lora_perf.io.tables.parquet import open_parquet
        from lora_perf.io.tables.rest import keep_rest

        relative = self._shipment.files[number]
        shard = open_parquet([file], label_column=None, name=relative)
        state = self._state
        if not state.rows:
            expected = len(shard) * self._expected(file)
            state.place = -(-(_HEADER + int(_SPARE * _TABLES * expected)) // _PAGE) * _PAGE
            refuse_small_disk(path, state.place + int(4 * shard.layout.p * expected))
            state.layout = shard.layout.to_json()
        if shard.layout.to_json() != state.layout:
            raise LoraPerfError(
                expected=f"the same layers in all files of {self._shipment.repository}",
                found=f"others in {relative} than in {self._shipment.files[0]}",
                fix="fetch the files, and load those of one kind by their path",
            )
        start = sum(state.rows)
        with _opened(self._rows) as rows, _opened(self._hashes) as hashes:
            for where, block in shard.blocks():
                values = block.numpy()
                put(rows, values, state.place + 4 * shard.layout.p * (start + where.start))
                put(hashes, row_hashes(values), 16 * (start + where.start))
                if self._progress is not None:
                    self._progress(where.stop - where.start)
            os.fsync(rows)
            os.fsync(hashes)
        keep_rest(file, self._shards / relative, first_group=number == 0)
        state.rows.append(len(shard))
        with replacing(self._folder / "state.json") as target:
            target.write(json.dumps(asdict(state)).encode())

    def _expected(self, first: Path) -> float:
        """How many times the first shard the data set is, by the sizes that the Hub tells; by the number of files if none."""
        from huggingface_hub import HfApi

        shipment = self._shipment
        with suppress(Exception):  # an estimate only
            told = HfApi().get_paths_info(
                shipment.repository, list(shipment.files), repo_type="dataset", revision=shipment.commit
            )
            return max(1.0, sum(getattr(one, "size", 0) for one in told) / max(1, first.stat().st_size))
        return float(len(shipment.files))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
