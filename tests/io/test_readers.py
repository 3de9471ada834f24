"""Readers of users: what they recognise, what they may return, and their zoos in commands, caches and resumed runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.__main__ import main as experiment
from lora_perf.inspect.__main__ import main as inspect
from lora_perf.io import readers
from lora_perf.io.__main__ import main as pack_command
from tests.io.checks import refuses
from tests.io.tables.forms import adapters, assert_rows, python_rows

# As a user writes it, in a file of their own: arrays in a .npz, and their classes beside them.
EXAMPLE = """
import numpy as np
import torch
import lora_perf
from lora_perf.core.layout import Layout

FACTOR = 1.0

@lora_perf.reader("numpy_loras", suffix=".npz")
def read(path):
    with np.load(path) as arrays:
        down, up, labels = arrays["down"], arrays["up"], arrays["labels"]
    layout = Layout([("net.layer.lora.down.weight", down.shape[1:]), ("net.layer.lora.up.weight", up.shape[1:])])
    rows = FACTOR * np.concatenate([down.reshape(len(down), -1), up.reshape(len(up), -1)], axis=1)
    with open(path.parent / "reads.txt", "a") as file:
        file.write("read\\n")
    return lora_perf.Zoo.from_rows(torch.from_numpy(rows), layout, torch.from_numpy(labels), ["cat", "dog"])
"""


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry of no readers, and modules as they were."""
    monkeypatch.setattr(readers.READERS, "_parts", {})
    monkeypatch.setattr(readers.READERS, "_owners", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("users_reader"):
            del sys.modules[name]


@pytest.fixture
def mine(tmp_path: Path) -> tuple[Path, Path]:
    """The module of a user with a reader, and a file that it reads."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    down = rng.normal(size=(24, 2, 6)).astype(np.float32) * (1 + labels[:, None, None])
    path = tmp_path / "zoo.npz"
    np.savez(path, down=down, up=rng.normal(size=(24, 5, 2)).astype(np.float32), labels=labels)
    module = tmp_path / "users_reader.py"
    module.write_text(EXAMPLE)
    return module, path


def reads(path: Path) -> int:
    """How often the reader was called."""
    found = path.parent / "reads.txt"
    return len(found.read_text().splitlines()) if found.exists() else 0


def results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


def test_the_example_runs_through_experiment_cache_and_resume(mine: tuple[Path, Path], tmp_path: Path) -> None:
    module, path = mine
    out = tmp_path / "out"
    common = ["--import", str(module), "--dataset", str(path), "--output-dir", str(out), "--classifiers", "ridge"]
    common += ["--representations", "stats"]
    assert experiment([*common, "--preprocess-only"]) == 0
    assert reads(path) == 1
    assert experiment(common) == 0
    assert reads(path) == 1  # from the packed form
    first = results(out)
    cells = {cell: cell.stat().st_mtime_ns for cell in (out / "cells").iterdir()}
    assert cells
    assert experiment(common) == 0
    assert {cell: cell.stat().st_mtime_ns for cell in (out / "cells").iterdir()} == cells  # none is made anew
    assert results(out)["cells"] == first["cells"]
    module.write_text(EXAMPLE.replace("FACTOR = 1.0", "FACTOR = 2.0"))
    assert experiment(common) == 0
    assert reads(path) == 2  # neither the packed form of the old reader nor its cells
    assert results(out)["dataset"]["fingerprint"] != first["dataset"]["fingerprint"]
    assert cells.keys() < set((out / "cells").iterdir())


def test_the_example_is_inspected_and_packed(mine: tuple[Path, Path], tmp_path: Path) -> None:
    module, path = mine
    assert inspect([str(path), "--import", str(module)]) == 0
    assert pack_command([str(path), str(tmp_path / "packed.safetensors"), "--import", str(module)]) == 0
    assert_close(lora_perf.load(tmp_path / "packed.safetensors").rows, lora_perf.load(path).rows, rtol=0, atol=0)


def test_a_skipped_adapter_of_a_reader_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "zoo.mine"
    path.touch()

    @lora_perf.reader("mine", suffix=".mine")
    def read(path: Path) -> Zoo:
        whole = lora_perf.load(adapters(4))
        rows = whole.rows.clone()
        rows[1, 0] = torch.nan
        return Zoo.from_rows(rows, whole.layout, whole.labels, whole.classes)

    assert len(lora_perf.load(path, skip_bad=True)) == 3


def test_an_address_goes_to_the_reader_of_its_scheme() -> None:
    @lora_perf.reader("mydb", scheme="MyDB")
    def read(address: str) -> Any:
        assert address == "mydb://host/some/zoo"
        return adapters(5)

    zoo = lora_perf.load("mydb://host/some/zoo")
    assert_rows(zoo, python_rows(adapters(5)))
    assert zoo.name == "zoo"


def test_a_predicate_comes_before_the_formats_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "runs.json").write_text("5")

    @lora_perf.reader("runs", recognises=lambda path: (path / "runs.json").exists())
    def read(path: Path) -> Any:
        return adapters(int((path / "runs.json").read_text()))

    assert len(lora_perf.load(tmp_path / "zoo")) == 5


def test_a_reader_may_return_another_path(tmp_path: Path) -> None:
    lora_perf.pack(adapters(3), tmp_path / "there.safetensors")

    @lora_perf.reader("link", scheme="link")
    def read(address: str) -> Path:
        return tmp_path / "there.safetensors"

    assert len(lora_perf.load("link://anything")) == 3


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (3, r"a path, a name, a Zoo, .*, from the reader 'mine'; found a int"),
        ("wrong://again", r"from the reader 'mine'; found 'wrong://again', which is its own to read"),
        ("/no/such", r", from the reader 'mine'; found '/no/such', which is none"),
    ],
)
def test_what_is_no_zoo_is_said_with_the_name_of_the_reader(made: Any, message: str) -> None:
    lora_perf.reader("mine", scheme="wrong")(lambda address: made)
    refuses("wrong://x", message)


def test_an_error_of_the_function_itself_passes() -> None:
    def read(address: str) -> Any:
        raise ZeroDivisionError

    lora_perf.reader("mine", scheme="mine")(read)
    with pytest.raises(ZeroDivisionError):
        lora_perf.load("mine://x")


@pytest.mark.parametrize(
    ("name", "ways", "message"),
    [
        ("mine", {}, "one way to know the sources of the reader 'mine'.*; found none; give exactly one"),
        ("mine", {"suffix": ".a", "scheme": "a"}, "; found several; give exactly one"),
        ("mine", {"suffix": "npz"}, "endings with their dot, .* for the reader 'mine'; found 'npz'"),
        ("mine", {"scheme": "a://"}, "a scheme such as 'mydb' for the reader 'mine'; found 'a://'"),
        ("mine", {"suffix": (".a", ".Parquet")}, r"sources for the reader 'mine' that no other reads; found \.parquet"),
        ("mine", {"suffix": ".taken"}, r"found \.taken, which is taken"),
        ("other", {"scheme": "xy"}, "a new name for a reader; found 'other', which is taken"),
        ("parquet", {"scheme": "xy"}, "a new name for a reader; found 'parquet', which is taken"),
        ("my reader", {"scheme": "xy"}, "a name of letters, digits and _ for a reader; found 'my reader'"),
    ],
)
def test_what_is_taken_or_unclear_is_refused(name: str, ways: Any, message: str) -> None:
    lora_perf.reader("other", suffix=".taken")(len)
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.reader(name, **ways)(lambda path: path)


def test_an_address_that_no_reader_knows_asks_for_its_module() -> None:
    refuses("nodb://x", r"found the address nodb://x; .*name the module of its reader with --import")


def test_what_is_no_function_or_no_name_is_refused() -> None:
    with pytest.raises(LoraPerfError, match="a function for the reader odd; found a value of type int"):
        lora_perf.reader("odd", suffix=".odd")(3)  # type: ignore[type-var]
    with pytest.raises(LoraPerfError, match="a name of letters, digits and _ for a reader; found 3"):
        lora_perf.reader(3, suffix=".odd")(len)  # type: ignore[arg-type]
