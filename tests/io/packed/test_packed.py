from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch.testing import assert_close

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo
from lora_perf.io.headers import read_header
from lora_perf.io.store import FORMAT, open_packed, verify, write
from tests.conftest import SHAPES
from tests.io.packed.files import Header, MakeZoo, repacked, with_tables


@given(data=st.data(), n=st.integers(1, 9), seed=st.integers(0, 99), split=st.booleans())
def test_a_packed_zoo_is_the_zoo(
    random_zoo: MakeZoo, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, n: int, seed: int, split: bool
) -> None:
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=5))
    zoo = random_zoo(n, [(f"m{i}.lora.down.weight", size) for i, size in enumerate(sizes)], seed=seed, split=split)
    path = tmp_path_factory.mktemp("packed") / "zoo.safetensors"
    write(zoo, path)
    again = open_packed(path)
    assert_close(again.rows, zoo.rows, rtol=0, atol=0)
    assert_close(again.labels, zoo.labels)
    assert (again.split is None) == (not split)
    if zoo.split is not None:
        assert_close(again.split, zoo.split)
    assert (again.layout, again.classes, again.name) == (zoo.layout, zoo.classes, zoo.name)
    assert verify(path) == again.fingerprint == zoo.fingerprint


def test_names_of_any_script_come_back(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo()
    classes = ['"fingerprint":"', "猫", "a\\b\n"]
    again = repacked(Zoo(zoo.source, zoo.layout, zoo.labels, classes, name="zoo “é”"), tmp_path)
    assert (again.classes, again.name) == (classes, "zoo “é”")
    verify(tmp_path / "zoo.safetensors")


def test_special_values_come_back_bit_by_bit(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(2)
    zoo.rows[0, :4] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    assert_close(repacked(zoo, tmp_path).rows.view(torch.int32), zoo.rows.view(torch.int32))


def test_tables_with_strides_are_packed(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo, scales = random_zoo(3), torch.rand(2, 3).T
    labels, split = torch.tensor([[0, 2], [1, 0], [2, 1]]).unbind(1)
    again = repacked(Zoo(zoo.source, zoo.layout, labels, zoo.classes, split=split, scales=scales), tmp_path)
    assert (again.labels.tolist(), again.split.tolist()) == ([0, 1, 2], [2, 0, 1])
    assert_close(again.scales, scales, rtol=0, atol=0)


def test_any_safetensors_reader_can_open_it(random_zoo: MakeZoo, packed: Path) -> None:
    zoo = random_zoo(split=True)
    with safe_open(packed, framework="pt") as file:
        assert sorted(file.keys()) == ["labels", "rows", "split"]
        assert_close(file.get_tensor("rows"), zoo.rows, rtol=0, atol=0)
        assert_close(file.get_tensor("labels"), zoo.labels)
        assert_close(file.get_tensor("split"), zoo.split)
        assert file.metadata() == {
            "format": FORMAT,
            "layout": zoo.layout.to_json(),
            "classes": '["bird", "cat", "dog"]',
            "name": "zoo",
            "fingerprint": zoo.fingerprint,
            "checksum": file.metadata()["checksum"],
        }


@pytest.mark.parametrize("n", [6, 7])
@pytest.mark.parametrize("modules", [1, 2])
def test_rows_begin_on_a_page_and_others_on_multiples_of_their_size(
    random_zoo: MakeZoo, tmp_path: Path, n: int, modules: int
) -> None:
    path = tmp_path / "zoo.safetensors"
    zoo = with_tables(random_zoo(n, SHAPES[: 2 * modules]))
    write(zoo, path)
    header = read_header(path)
    places = {name: header.begin + entry.begin for name, entry in header.entries.items()}
    assert places["rows"] % 4096 == 0
    assert {places[name] % 8 for name in ("labels", "split", "ranks")} == {0}
    assert places["scales"] % 4 == 0
    with safe_open(path, framework="pt") as file:
        for name in ("labels", "split", "ranks", "scales"):
            assert_close(file.get_tensor(name), getattr(zoo, name), rtol=0, atol=0)


def test_scales_or_ranks_may_stand_alone(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = with_tables(random_zoo())
    for name in ("scales", "ranks"):
        one = Zoo(zoo.source, zoo.layout, zoo.labels, zoo.classes, **{name: getattr(zoo, name)})
        again = repacked(one, tmp_path)
        assert [title for title in ("split", "scales", "ranks") if getattr(again, title) is not None] == [name]
        assert verify(tmp_path / "zoo.safetensors") == one.fingerprint


@pytest.mark.parametrize("rank", [0, 3, -1])
def test_ranks_beyond_the_layout_are_refused(random_zoo: MakeZoo, tmp_path: Path, rank: int) -> None:
    zoo = random_zoo()
    ranks = torch.full((7, 2), 2)
    ranks[3, 1] = rank
    write(Zoo(zoo.source, zoo.layout, zoo.labels, zoo.classes, ranks=ranks), tmp_path / "zoo.safetensors")
    with pytest.raises(
        LoraPerfError, match=r"an undamaged packed zoo .*; found ranks from -?\d to \d, beyond those of the layout"
    ):
        open_packed(tmp_path / "zoo.safetensors")


# Mapping


def test_writing_into_mapped_rows_never_changes_the_file(random_zoo: MakeZoo, packed: Path) -> None:
    before = packed.read_bytes()
    zoo = open_packed(packed)
    zoo.rows.zero_()
    zoo.layer("unet.mid_block.attn1.to_q.lora.up.weight").fill_(5)
    assert_close(zoo.rows.sum().item(), 5.0 * 8 * 7)
    del zoo
    assert packed.read_bytes() == before
    assert_close(open_packed(packed).rows, random_zoo().rows, rtol=0, atol=0)


def test_rows_outlive_their_zoo_and_the_name_of_their_file(random_zoo: MakeZoo, packed: Path) -> None:
    rows = open_packed(packed).rows
    packed.unlink()
    assert_close(rows, random_zoo().rows, rtol=0, atol=0)


def bytes_read() -> int:
    """What this process has read so far by calls to the system, where that can be known."""
    try:
        counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    except OSError:
        return 0
    return int(counts["rchar"])


def test_a_zoo_larger_than_memory_opens_at_once_and_gives_single_rows(tmp_path: Path) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    layout = Layout([("a.lora.down.weight", (1, 1 << 20))])
    n = 2 * memory // (4 * layout.p) + 1
    path = tmp_path / "zoo.safetensors"
    entries: Header = {
        "__metadata__": {"format": FORMAT, "layout": layout.to_json(), "classes": '["cat"]', "name": "huge"},
        "labels": {"dtype": "I64", "shape": [n], "data_offsets": [0, 8 * n]},
        "rows": {"dtype": "F32", "shape": [n, layout.p], "data_offsets": [8 * n, 8 * n + 4 * n * layout.p]},
    }
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    value = np.array([2.5], np.float32).tobytes()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        size = 8 + len(text) + entries["rows"]["data_offsets"][1]
        try:
            file.truncate(size)
        except OSError:
            pytest.skip("the file system has no files of this size")
        file.seek(size - 4)
        file.write(value)
    if path.stat().st_blocks * 512 > 1 << 20:
        pytest.skip("the file system has no sparse files")
    before = bytes_read()
    zoo = open_packed(path)
    assert bytes_read() - before < 1 << 20
    assert zoo.rows[-1, -1].item() == 2.5
    assert zoo.rows[n // 2].sum().item() == 0.0
    out = np.empty((1, layout.p), np.float32)
    zoo.source.read(n - 1, n, out)
    assert out[0, -1] == 2.5


@pytest.mark.parametrize("name", ["zoo", "zoo.bin", "zoo.v2", "z\u00f6o \u00e9.packed"])
def test_a_packed_file_is_known_whatever_it_is_called(name: str, random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(6)
    path = zoo.save(tmp_path / name)
    assert lora_perf.load(path).fingerprint == zoo.fingerprint
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LoraPerfError, match="expected a zoo at"):
        lora_perf.load(path)
