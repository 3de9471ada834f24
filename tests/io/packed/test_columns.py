"""Names and metadata in packed files: read when they are used, and then compared with what was packed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import DamagedError, Zoo
from lora_perf.io.headers import read_header
from lora_perf.io.store import open_packed, verify, write
from tests.conftest import MakeZoo
from tests.io.packed.files import change, join, parts

TEXTS = ["cat/0.safetensors", "猫", '"names":"', "", "\udcff", "a\nb", "row 6"]
COLUMNS: dict[str, Any] = {
    "num_images": [5, 8, 2**60, -1, 0, None, 3],
    "loss": [0.1, float("inf"), -0.0, 1e-300, None, 2.5, 1.0],
    "odd name / \"'": [True, False, None, True, "x", [1, [2]], {"a": 1}],
}


def whole(make: MakeZoo) -> Zoo:
    zoo = make(7)
    return Zoo(zoo.source, zoo.layout, zoo.labels, zoo.classes, names=TEXTS, metadata=COLUMNS)


@pytest.fixture
def packed(random_zoo: MakeZoo, tmp_path: Path) -> Path:
    write(whole(random_zoo), tmp_path / "zoo.safetensors")
    return tmp_path / "zoo.safetensors"


def test_names_and_metadata_come_back(packed: Path) -> None:
    for zoo in (open_packed(packed), pickle.loads(pickle.dumps(open_packed(packed)))):
        assert zoo.names == TEXTS
        assert dict(zoo.metadata) == COLUMNS
    verify(packed)


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(values=st.lists(VALUES, min_size=7, max_size=7), name=st.text())
def test_any_plain_values_come_back(
    random_zoo: MakeZoo, tmp_path_factory: pytest.TempPathFactory, values: list[Any], name: str
) -> None:
    zoo = random_zoo(7)
    path = tmp_path_factory.mktemp("packed") / "zoo.safetensors"
    write(Zoo(zoo.source, zoo.layout, metadata={name: values}), path)
    assert open_packed(path).metadata[name] == values


def test_they_are_no_part_of_the_fingerprint(random_zoo: MakeZoo, packed: Path) -> None:
    assert open_packed(packed).fingerprint == random_zoo(7).fingerprint


def test_packing_again_and_choosing_keep_them(packed: Path, tmp_path: Path) -> None:
    write(open_packed(packed), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == packed.read_bytes()
    some = open_packed(open_packed(packed)[[4, 1]].save(tmp_path / "some.safetensors"))
    assert some.names == [TEXTS[4], TEXTS[1]]
    assert some.metadata["loss"] == [None, float("inf")]


def test_a_file_of_before_has_none(random_zoo: MakeZoo, tmp_path: Path) -> None:
    write(random_zoo(7), tmp_path / "zoo.safetensors")
    assert "columns" not in read_header(tmp_path / "zoo.safetensors").metadata
    zoo = open_packed(tmp_path / "zoo.safetensors")
    assert not zoo.named
    assert not zoo.metadata


def test_values_without_a_form_in_json_are_written_as_text(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(2)
    write(Zoo(zoo.source, zoo.layout, metadata={"when": np.array(["2026-01-02", "2026-01-03"], "M8[D]")}), tmp_path / "zoo")
    assert open_packed(tmp_path / "zoo").metadata["when"] == ["2026-01-02", "2026-01-03"]


@pytest.mark.parametrize("name", ["names", "metadata/loss"])
def test_a_changed_value_is_found_when_it_is_used_and_by_a_check(packed: Path, name: str) -> None:
    header = read_header(packed)
    content = bytearray(packed.read_bytes())
    content[header.begin + header.entries[name].begin + 2] ^= 1
    packed.write_bytes(content)
    zoo = open_packed(packed)
    _ = zoo.rows
    with pytest.raises(DamagedError, match=rf"an undamaged packed zoo at .*; found {name} that differ from those"):
        _ = zoo.names if name == "names" else zoo.metadata["loss"]
    with pytest.raises(DamagedError, match=r"that differ from those that were packed"):
        verify(packed)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("__metadata__", "columns"), "[]"),
        (("__metadata__", "columns"), "{"),
        (("__metadata__", "columns"), json.dumps({"gone": "0"})),
        (("__metadata__", "columns"), json.dumps({"rows": "0"})),
        (("names", "dtype"), "I8"),
        (("names",), ...),
    ],
    ids=str,
)
def test_columns_other_than_the_metadata_says_are_refused(packed: Path, keys: tuple[str, ...], value: object) -> None:
    header, data = parts(packed)
    join(packed, change(header, keys, value), data)
    with pytest.raises(LoraPerfError, match=r"(an undamaged packed zoo|a whole safetensors file) at"):
        open_packed(packed)


def test_opening_reads_no_column(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(2)
    path = tmp_path / "zoo.safetensors"
    write(Zoo(zoo.source, zoo.layout, names=["x" * (1 << 22), "y"]), path)
    counts = Path("/proc/self/io")
    if not counts.exists():
        pytest.skip("the system does not count what is read")

    def read() -> int:
        return int(dict(line.split(": ") for line in counts.read_text().splitlines())["rchar"])

    before = read()
    opened = open_packed(path)
    assert read() - before < 1 << 20
    assert opened.names[1] == "y"
    assert torch.equal(opened.rows, zoo.rows)
