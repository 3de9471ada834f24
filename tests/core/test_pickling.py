"""Zoos go to other processes by reopening their source; rows in memory go along."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from lora_perf import Zoo, load, pack
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.rows import ChosenRows
from tests.conftest import MakeZoo

N = 9
NAMES = ("unet.a.attn1.to_q.lora.down.weight", "unet.a.attn1.to_q.lora.up.weight")
SHAPES = ((2, 30), (40, 2))


def values() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal((N, *shape)).astype(np.float32) for name, shape in zip(NAMES, SHAPES, strict=True)}


def table() -> pa.Table:
    labels = pa.array(["cat", "dog", "emu"] * (N // 3))
    return pa.table({"category_label": labels} | {name: pa.array(matrix.tolist()) for name, matrix in values().items()})


def a_folder(path: Path) -> Path:
    for i in range(N):
        file = path / ("cat", "dog", "emu")[i % 3] / f"{i}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: torch.from_numpy(matrix[i]) for name, matrix in values().items()}, file)
    return path


def a_parquet(path: Path) -> Path:
    path.mkdir()
    pq.write_table(table(), path / "train.parquet", row_group_size=4)
    return path


def a_saved(path: Path) -> Path:
    datasets.Dataset(table()).save_to_disk(str(path))
    return path


def a_packed(path: Path) -> Path:
    return pack(table(), path.with_suffix(".safetensors"))


ON_DISK = {"packed": a_packed, "folder": a_folder, "parquet": a_parquet}
MAKERS: dict[str, Callable[[Path], Any]] = {**ON_DISK, "saved": a_saved, "table": lambda _: table()}
MAKERS["dataset"] = lambda _: datasets.Dataset(table()).select([3, 1, 2])


@pytest.fixture(params=MAKERS, ids=str)
def zoo(request: pytest.FixtureRequest, tmp_path: Path) -> Zoo:
    return load(MAKERS[request.param](tmp_path / "data"))


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize(
    "again", [lambda zoo: pickle.loads(pickle.dumps(zoo)), copy.deepcopy, copy.copy], ids=["pickle", "deep", "copy"]
)
def test_a_zoo_comes_back_with_all_that_it_says(again: Callable[[Zoo], Zoo], used: bool, zoo: Zoo) -> None:
    if used:
        _ = zoo.rows, zoo.fingerprint, list(zoo.blocks())
    other = again(zoo)
    assert torch.equal(other.rows, zoo.rows)
    assert torch.equal(torch.cat([block.clone() for _, block in other.blocks(600)]), zoo.rows)
    for name in ("labels", "classes", "layout", "name", "names", "skipped", "promise"):
        one, two = getattr(other, name), getattr(zoo, name)
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two, name
    assert other.fingerprint == zoo.fingerprint


@pytest.mark.parametrize("kind", ON_DISK)
def test_rows_on_disk_are_not_in_the_pickle(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    zoo = load(Path(os.path.relpath(MAKERS[kind](tmp_path / "data"))))
    pickled = pickle.dumps(zoo)
    rows = zoo.rows.numpy().tobytes()
    assert rows[:64] not in pickled
    assert pickle.dumps(zoo).find(rows[:64]) == -1, "what was read since went along"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert torch.equal(pickle.loads(pickled).rows, zoo.rows)


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_source_that_changed_meanwhile_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    path = MAKERS[kind](tmp_path / "data")
    pickled = pickle.dumps(load(path))
    for file in [path] if path.is_file() else path.rglob("*.*"):
        status = file.stat()
        file.write_bytes(file.read_bytes())
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(LoraPerfError, match="since"):
        _ = pickle.loads(pickled).rows


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_source_that_is_gone_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    path = MAKERS[kind](tmp_path / "data")
    pickled = pickle.dumps(load(path))
    path.rename(tmp_path / "moved")
    with pytest.raises(LoraPerfError, match=r"No such file or directory|since"):
        _ = pickle.loads(pickled).rows


def test_chosen_rows_of_a_packed_file_come_back(tmp_path: Path) -> None:
    whole = load(a_packed(tmp_path / "data"))
    chosen = Zoo(ChosenRows(whole.source, np.array([0, 4, 5])), whole.layout, whole.labels[[0, 4, 5]], whole.classes)
    assert torch.equal(pickle.loads(pickle.dumps(chosen)).rows, whole.rows[[0, 4, 5]])


def test_a_zoo_in_memory_goes_along_once(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(50)
    rows = zoo.rows
    pickled = pickle.dumps(zoo)
    assert len(pickled) < 1.5 * zoo.nbytes + 4000
    assert torch.equal(pickle.loads(pickled).rows, rows)
    other = copy.deepcopy(zoo)
    other.rows[0, 0] += 1
    assert torch.equal(zoo.rows, random_zoo(50).rows)


def test_a_pickle_of_before_has_its_names_and_no_metadata(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(3)
    state = {name: value for name, value in zoo.__getstate__().items() if name not in ("given_names", "metadata")}
    for names in (None, ["a", "b", "c"]):
        again = Zoo.__new__(Zoo)
        again.__setstate__(state | {"names": names})
        assert again.names == (names or ["row 0", "row 1", "row 2"])
        assert dict(again.metadata) == {}
        assert again.fingerprint == zoo.fingerprint
