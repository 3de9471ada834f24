from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import lora_perf
from lora_perf.core.digest import DamagedError
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.io.headers import read_header
from lora_perf.io.store import open_packed, verify, write
from lora_perf.zoos import EMBEDDED
from tests.io.checks import refuses
from tests.io.packed.files import MakeZoo, change, join, parts, with_tables


def test_every_truncation_is_refused(packed: Path) -> None:
    content = packed.read_bytes()
    for length in [*range(0, len(content), 37), *range(len(content) - 40, len(content))]:
        packed.write_bytes(content[:length])
        refuses(packed, "expected a whole safetensors file at")


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
        refuses(path, r"a packed zoo \('lora_perf zoo 2'\) at .*with lora_perf\.pack\(source, path\)")


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
    refuses(complete, found)


@pytest.mark.parametrize(("name", "found"), [("rows", r"no rows \(n, p\)"), ("labels", "no labels or no class names")])
def test_a_packed_zoo_without_rows_or_labels_is_refused(name: str, found: str, complete: Path) -> None:
    header, data = parts(complete)
    join(complete, {f"x{key}" if key == name else key: value for key, value in header.items()}, data)
    refuses(complete, found)


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
    """Another writer of the format need not align the data."""
    header, data = parts(packed)
    for blanks in range(4):
        join(packed, header, data, blanks)
        zoo = open_packed(packed)
        assert_close(zoo.rows + 0, random_zoo().rows, rtol=0, atol=0)
        assert verify(packed) == random_zoo(split=True).fingerprint


@pytest.mark.parametrize(
    "read", [lambda zoo: zoo.rows, lambda zoo: list(zoo.blocks()), lambda zoo: zoo.fingerprint], ids=["rows", "blocks", "hash"]
)
@pytest.mark.parametrize("how", ["cut", "emptied", "written over"])
def test_a_file_that_is_written_to_while_it_is_open_is_not_read(how: str, read: Callable[[Zoo], object], packed: Path) -> None:
    zoo = open_packed(packed)
    content = packed.read_bytes()
    with packed.open("r+b") as file:
        if how == "written over":
            file.write(content[:-4] + b"\0\0\0\0")
        else:
            file.truncate(len(content) - 200 if how == "cut" else 0)
    os.utime(packed, ns=(0, 0))  # whatever the clock of the file system can tell apart
    told = rf"the packed zoo that was opened at {re.escape(str(packed))}; found another content, written since; load it again"
    with pytest.raises(LoraPerfError, match=told):
        read(zoo)


def test_a_changed_weight_in_a_file_of_the_first_format_is_found(tmp_path: Path) -> None:
    path = tmp_path / "digits.safetensors"
    path.write_bytes(EMBEDDED["digits"].read_bytes())
    header, _ = parts(path)
    assert header["__metadata__"]["format"] == "lora_perf zoo 1"
    assert verify(path) == lora_perf.load("digits").select(range(1000)).fingerprint
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\x55")
    with pytest.raises(DamagedError, match="content of fingerprint"):
        verify(path)
