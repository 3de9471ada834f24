from __future__ import annotations

import json
import os
import re
import resource
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.testing import assert_close

from lora_perf.errors import LoraPerfError
from lora_perf.headers import read_header
from lora_perf.layout import Layout
from lora_perf.store import FORMAT, open_packed, replacing, verify, write
from lora_perf.zoo import FloatRows, RowSource, Zoo
from tests.conftest import SHAPES

MakeZoo = Callable[..., Zoo]
Header = dict[str, Any]


@pytest.fixture
def packed(random_zoo: MakeZoo, tmp_path: Path) -> Path:
    """A packed zoo of seven adapters with a split."""
    path = tmp_path / "zoo.safetensors"
    write(random_zoo(split=True), path)
    return path


def with_tables(zoo: Zoo) -> Zoo:
    """The zoo with a split, scales and ranks of its adapters' modules."""
    n, modules = len(zoo), len(zoo.layout.modules)
    scales = torch.rand(n, modules, generator=torch.Generator().manual_seed(1))
    ranks = torch.arange(n * modules).view(n, modules) % 2 + 1
    return Zoo(zoo.source, zoo.layout, zoo.labels, zoo.classes, split=zoo.labels % 3, scales=scales, ranks=ranks)


@pytest.fixture
def complete(random_zoo: MakeZoo, tmp_path: Path) -> Path:
    """A packed zoo of seven adapters with a split, scales and ranks."""
    path = tmp_path / "complete.safetensors"
    write(with_tables(random_zoo()), path)
    return path


def parts(path: Path) -> tuple[Header, bytes]:
    """Header and data of a safetensors file, read by the definition of the format."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(path: Path, header: object, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


# Round trip


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
    write(Zoo(zoo.source, zoo.layout, zoo.labels, classes, name="zoo “é”"), tmp_path / "zoo.safetensors")
    again = open_packed(tmp_path / "zoo.safetensors")
    assert (again.classes, again.name) == (classes, "zoo “é”")
    verify(tmp_path / "zoo.safetensors")


def test_special_values_come_back_bit_by_bit(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(2)
    zoo.rows[0, :4] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    write(zoo, tmp_path / "zoo.safetensors")
    again = open_packed(tmp_path / "zoo.safetensors")
    assert_close(again.rows.view(torch.int32), zoo.rows.view(torch.int32))


def test_labels_and_split_with_strides_are_packed(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(3)
    labels, split = torch.tensor([[0, 2], [1, 0], [2, 1]]).unbind(1)
    write(Zoo(zoo.source, zoo.layout, labels, zoo.classes, split=split), tmp_path / "zoo.safetensors")
    again = open_packed(tmp_path / "zoo.safetensors")
    assert again.split is not None
    assert (again.labels.tolist(), again.split.tolist()) == ([0, 1, 2], [2, 0, 1])


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


def test_scales_and_ranks_come_back(random_zoo: MakeZoo, complete: Path) -> None:
    zoo, again = with_tables(random_zoo()), open_packed(complete)
    assert_close(again.scales, zoo.scales, rtol=0, atol=0)
    assert_close(again.ranks, zoo.ranks, rtol=0, atol=0)
    for part, block in again.blocks():
        assert_close(block, random_zoo().rows[part], rtol=0, atol=0)
    assert verify(complete) == again.fingerprint == zoo.fingerprint


def test_scales_or_ranks_may_stand_alone(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = with_tables(random_zoo())
    for name in ("scales", "ranks"):
        one = Zoo(zoo.source, zoo.layout, zoo.labels, zoo.classes, **{name: getattr(zoo, name)})
        write(one, tmp_path / "zoo.safetensors")
        again = open_packed(tmp_path / "zoo.safetensors")
        assert [title for title in ("split", "scales", "ranks") if getattr(again, title) is not None] == [name]
        assert verify(tmp_path / "zoo.safetensors") == one.fingerprint


def test_scales_with_strides_are_packed(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo()
    scales = torch.rand(2, 7).T
    write(Zoo(zoo.source, zoo.layout, zoo.labels, zoo.classes, scales=scales), tmp_path / "zoo.safetensors")
    assert_close(open_packed(tmp_path / "zoo.safetensors").scales, scales, rtol=0, atol=0)


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


@pytest.mark.parametrize("name", ["scales", "ranks"])
def test_verify_finds_a_changed_scale_or_rank(complete: Path, name: str) -> None:
    header = read_header(complete)
    content = bytearray(complete.read_bytes())
    place = header.begin + header.entries[name].begin
    content[place] ^= 1 if name == "scales" else 3  # 1 becomes 2
    complete.write_bytes(content)
    with pytest.raises(LoraPerfError, match=r"an undamaged packed zoo at .*; found content of fingerprint"):
        verify(complete)


def test_blocks_of_a_packed_zoo_are_its_rows(random_zoo: MakeZoo, packed: Path) -> None:
    for part, block in open_packed(packed).blocks(nbytes=300):
        assert_close(block, random_zoo().rows[part], rtol=0, atol=0)


def test_packing_a_packed_zoo_gives_the_same_file(packed: Path, tmp_path: Path) -> None:
    write(open_packed(packed), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == packed.read_bytes()


def test_a_zoo_can_be_packed_onto_its_own_file(packed: Path) -> None:
    before = packed.read_bytes()
    write(open_packed(packed), packed)
    assert packed.read_bytes() == before


def test_the_file_gets_the_permissions_of_a_new_file(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert packed.stat().st_mode == (tmp_path / "plain").stat().st_mode


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
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        zoo = open_packed(path)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02
    assert zoo.rows[-1, -1].item() == 2.5
    assert zoo.rows[n // 2].sum().item() == 0.0
    out = np.empty((1, layout.p), np.float32)
    zoo.source.read(n - 1, n, out)
    assert out[0, -1] == 2.5


# Damage


def test_every_truncation_is_refused(packed: Path) -> None:
    content = packed.read_bytes()
    for length in [*range(0, len(content), 37), *range(len(content) - 40, len(content))]:
        packed.write_bytes(content[:length])
        with pytest.raises(LoraPerfError, match="expected a whole safetensors file at"):
            open_packed(packed)


def test_bytes_after_the_end_are_refused(packed: Path) -> None:
    content = packed.read_bytes()
    packed.write_bytes(content + b"\0")
    promise = rf"found {len(content) + 1:,} bytes where the header promises {len(content):,} \(truncated or damaged\)"
    with pytest.raises(LoraPerfError, match=promise):
        open_packed(packed)


@given(data=st.data())
@settings(max_examples=60)
def test_verify_finds_any_changed_byte_of_the_content(
    random_zoo: MakeZoo, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("packed") / "zoo.safetensors"
    write(with_tables(random_zoo()), path)
    content = bytearray(path.read_bytes())
    begin = read_header(path).begin
    place = data.draw(st.integers(begin, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(LoraPerfError):
        verify(path)


def test_verify_says_which_fingerprint_was_packed(random_zoo: MakeZoo, packed: Path) -> None:
    content = bytearray(packed.read_bytes())
    content[-1] ^= 1
    packed.write_bytes(content)
    with pytest.raises(
        LoraPerfError, match=rf"an undamaged packed zoo at .* where {random_zoo(split=True).fingerprint} was packed"
    ):
        verify(packed)


def test_verify_finds_other_class_names_and_another_layout(packed: Path) -> None:
    header, data = parts(packed)
    for key, old, new in (("classes", "bird", "lark"), ("layout", "attn1", "attn3")):
        changed = {**header["__metadata__"], key: header["__metadata__"][key].replace(old, new)}
        join(packed, {**header, "__metadata__": changed}, data)
        with pytest.raises(LoraPerfError, match="an undamaged packed zoo"):
            verify(packed)


@pytest.mark.parametrize("path", ["missing.safetensors", "."])
def test_a_path_that_is_no_file_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match=r"a whole safetensors file at .*found (No such file|a folder)"):
        open_packed(tmp_path / path)


def test_a_safetensors_file_that_is_no_zoo_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zoo.safetensors"
    for header in ({}, {"__metadata__": {"format": "pt"}}, {"__metadata__": {}}):
        join(path, header, b"")
        with pytest.raises(
            LoraPerfError, match=r"a packed zoo \('lora_perf zoo 1'\) at .*with lora_perf\.pack\(source, path\)"
        ):
            open_packed(path)


def change(header: Header, keys: tuple[str, ...], value: object) -> Header:
    """The header with one value replaced, or removed where the value is Ellipsis."""
    header = json.loads(json.dumps(header))
    inner = header
    for key in keys[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return header


ROWS_BEGIN = 56 + 56 + 112  # labels, split, ranks
ROWS_END = ROWS_BEGIN + 7 * 26 * 4
LIES: list[tuple[tuple[str, ...], object, str]] = [
    (("rows",), {"dtype": "F32", "shape": [7 * 26], "data_offsets": [ROWS_BEGIN, ROWS_END]}, r"no rows \(n, p\)"),
    (
        ("rows",),
        {"dtype": "I32", "shape": [7, 26], "data_offsets": [ROWS_BEGIN, ROWS_END]},
        r"rows of dtype I32 and shape \(7, 26\)",
    ),
    (("rows", "shape"), [26, 7], r"rows of dtype F32 and shape \(26, 7\) for Layout"),
    (("rows", "shape"), [14, 13], r"shape \(14, 13\)"),
    (("rows", "shape"), [7, 25], "a whole safetensors file"),
    (("rows", "data_offsets"), [ROWS_BEGIN, ROWS_END - 4], "a whole safetensors file"),
    (("labels", "dtype"), "U64", r"labels of dtype U64 and shape \(7,\) where I64 and \(7,\) are due"),
    (("labels", "shape"), [7, 1], r"labels of dtype I64 and shape \(7, 1\) where I64 and \(7,\) are due"),
    (("split", "dtype"), "F64", r"split of dtype F64 and shape \(7,\) where I64"),
    (("ranks", "shape"), [2, 7], r"ranks of dtype I64 and shape \(2, 7\) where I64 and \(7, 2\) are due"),
    (("scales", "dtype"), "I32", r"scales of dtype I32 and shape \(7, 2\) where F32 and \(7, 2\) are due"),
    (("__metadata__", "classes"), ..., "no labels or no class names"),
    (("__metadata__", "classes"), "5", "no labels or no class names"),
    (("__metadata__", "classes"), "[", "no labels or no class names"),
    (("__metadata__", "classes"), "[" * 100_000, "no labels or no class names"),
    (("__metadata__", "classes"), '["cat"]', r"labels from 0 to 2"),
    (("__metadata__", "layout"), ..., r"a layout as \[\[name, rows, columns\], \.\.\.\]"),
    (("__metadata__", "layout"), "[]", "at least one layer"),
    (("__metadata__", "layout"), '[["a.lora.up.weight",1,1]]', r"rows of dtype F32 and shape \(7, 26\)"),
]


@pytest.mark.parametrize(("keys", "value", "found"), LIES, ids=lambda value: str(value)[:40])
def test_a_header_that_contradicts_itself_is_refused(keys: tuple[str, ...], value: object, found: str, complete: Path) -> None:
    header, data = parts(complete)
    join(complete, change(header, keys, value), data)
    with pytest.raises(LoraPerfError, match=found):
        open_packed(complete)


@pytest.mark.parametrize(("name", "found"), [("rows", r"no rows \(n, p\)"), ("labels", "no labels or no class names")])
def test_a_packed_zoo_without_rows_or_labels_is_refused(name: str, found: str, complete: Path) -> None:
    header, data = parts(complete)
    join(complete, {f"x{key}" if key == name else key: value for key, value in header.items()}, data)
    with pytest.raises(LoraPerfError, match=found):
        open_packed(complete)


def places(header: object, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(header, dict):
        for key, value in header.items():
            yield (*keys, key)
            yield from places(value, (*keys, key))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 1000)
    | st.floats()
    | st.sampled_from(["", "F32", "I64", "[[]]", "[[[1,2,3]]]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "x"]), inner, max_size=2),
    max_leaves=4,
)


@given(data=st.data())
@settings(max_examples=200)
def test_no_header_makes_the_reader_crash(
    random_zoo: MakeZoo, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    write(with_tables(random_zoo()), path)
    header, content = parts(path)
    keys = data.draw(st.sampled_from(list(places(header))))
    value = data.draw(anything)
    join(path, change(header, keys, value), content)
    try:
        zoo = open_packed(path)
        assert zoo.rows.shape == (7, 26)
        verify(path)
    except LoraPerfError:
        pass


def test_rows_at_any_byte_are_read(random_zoo: MakeZoo, packed: Path) -> None:
    """Another writer of the format need not align the data: `join` pads no header."""
    header, data = parts(packed)
    for name in ("z", "zz", "zzz", "zzzz"):
        join(packed, change(header, ("__metadata__", "name"), name), data)
        zoo = open_packed(packed)
        assert_close(zoo.rows + 0, random_zoo().rows, rtol=0, atol=0)
        assert verify(packed) == random_zoo(split=True).fingerprint


def test_a_file_cut_while_it_is_open_is_reported(packed: Path) -> None:
    zoo = open_packed(packed)
    os.truncate(packed, packed.stat().st_size - 200)
    with pytest.raises(LoraPerfError, match=rf"expected rows \d to 7 in {re.escape(str(packed))}; found the end of the file"):
        list(zoo.blocks())


# Writing


class BrokenRows(RowSource):
    """Rows of which the second block cannot be read."""

    def __init__(self, error: BaseException) -> None:
        self.n, self.p = 1000, 26_000
        self.error = error

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        if start:
            raise self.error
        out.fill(1)


def broken_zoo(error: BaseException) -> Zoo:
    layout = Layout([("a.lora.down.weight", (1, 26_000))])
    return Zoo(BrokenRows(error), layout, torch.zeros(1000, dtype=torch.int64), ["cat"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken")], ids=["interrupt", "error"])
def test_an_interrupted_write_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        write(broken_zoo(error), tmp_path / "zoo.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_keeps_the_old_file(packed: Path) -> None:
    before = packed.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write(broken_zoo(KeyboardInterrupt()), packed)
    assert packed.read_bytes() == before
    assert list(packed.parent.iterdir()) == [packed]


def test_a_folder_that_is_missing_is_made(random_zoo: MakeZoo, tmp_path: Path) -> None:
    write(random_zoo(), tmp_path / "a" / "b" / "zoo.safetensors")
    assert len(open_packed(tmp_path / "a" / "b" / "zoo.safetensors")) == 7


def test_a_folder_that_cannot_be_made_is_refused(random_zoo: MakeZoo, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        LoraPerfError, match=r"expected a folder that can be written for .*zoo\.safetensors; found (File exists|Not a)"
    ):
        write(random_zoo(), tmp_path / "file" / "zoo.safetensors")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_refused(random_zoo: MakeZoo, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LoraPerfError, match=r"a folder that can be written for .*found Permission denied"):
        write(random_zoo(), tmp_path / "zoo.safetensors")


def test_a_folder_in_the_place_of_the_file_is_refused(random_zoo: MakeZoo, tmp_path: Path) -> None:
    (tmp_path / "zoo.safetensors").mkdir()
    with pytest.raises(LoraPerfError, match=r"zoo\.safetensors; found Is a directory"):
        write(random_zoo(), tmp_path / "zoo.safetensors")
    assert list(tmp_path.iterdir()) == [tmp_path / "zoo.safetensors"]


def test_a_disk_without_room_is_reported(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(100, [("a.lora.down.weight", (10, 100))])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(LoraPerfError, match=r"zoo\.safetensors; found File too large"):
            write(zoo, tmp_path / "zoo.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_name_too_long_for_the_file_system_is_refused(random_zoo: MakeZoo, tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match="found File name too long"):
        write(random_zoo(), tmp_path / ("x" * 300))


def test_replacing_passes_the_error_of_its_body_on_and_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with replacing(tmp_path / "file") as file:
            file.write(b"half")
            raise ValueError("body")

    with pytest.raises(ValueError, match="body"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_memory_of_writing_and_streaming_does_not_grow_with_the_zoo(run_python: Callable[..., str], tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from lora_perf.layout import Layout
from lora_perf.store import open_packed, write
from lora_perf.zoo import RowSource, Zoo

class Counted(RowSource):
    def __init__(self, n, p):
        self.n, self.p = n, p
    def read(self, start, stop, out):
        out[:] = np.arange(start, stop, dtype=np.float32)[:, None]

path = Path(sys.argv[1])
layout = Layout([("a.lora.down.weight", (1, 100_000))])
for n in (100, 700):  # 40 and 280 MB
    write(Zoo(Counted(n, layout.p), layout, torch.zeros(n), ["cat"]), path)
    assert sum(block[:, 0].sum().item() for _, block in open_packed(path).blocks()) == n * (n - 1) / 2
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""
    small, large = map(int, run_python(program, tmp_path / "zoo.safetensors").split())
    assert large - small < 20_000_000
