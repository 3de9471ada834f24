"""The strict header: what safetensors writes is read, what contradicts itself is refused."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.headers import Entry, HeaderError, parse_header, read_header, split_metadata

DTYPES = [
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn),
    *(torch.int64, torch.uint8, torch.bool),
]


def entry(dtype: str = "F32", shape: Any = (2, 3), offsets: Any = (0, 24)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def write(path: Path, header: object, nbytes: int = 24) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(nbytes))
    return path


@given(
    shapes=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), st.lists(st.integers(0, 4), max_size=3)),
    kinds=st.lists(st.sampled_from(DTYPES), min_size=1),
    metadata=st.none() | st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))),
)
def test_what_safetensors_writes_is_read(
    shapes: dict[str, list[int]],
    kinds: list[torch.dtype],
    metadata: dict[str, str] | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    shapes.pop("__metadata__", None)
    content = {name: torch.ones(shape).to(kinds[i % len(kinds)]) for i, (name, shape) in enumerate(shapes.items())}
    path = tmp_path_factory.getbasetemp() / "some.safetensors"
    save_file(content, path, metadata or None)  # safetensors itself cannot read what it writes of no tensor and empty metadata
    header = read_header(path)
    with safe_open(path, "np") as file:
        assert sorted(header.entries) == sorted(file.keys())
        assert header.metadata == (file.metadata() or {})
    data = path.read_bytes()
    for name, one in header.entries.items():
        assert one.shape == tuple(content[name].shape)
        found = data[header.begin + one.begin : header.begin + one.end]
        assert found == content[name].flatten().view(torch.uint8).numpy().tobytes()
    assert header.end == len(data)


@given(
    metadata=st.dictionaries(st.text(), st.text()),
    other=st.dictionaries(st.text(), st.text()),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    spaces=st.integers(0, 9),
)
def test_metadata_can_be_told_from_the_rest(
    metadata: dict[str, str], other: dict[str, str], ascii_only: bool, indent: int | None, spaces: int
) -> None:
    def text(extra: dict[str, str]) -> bytes:
        whole = {"__metadata__": extra, "a": entry()}
        return json.dumps(whole, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")

    try:
        text(metadata).decode(), text(other).decode()
    except UnicodeDecodeError:
        return  # lone surrogates are no UTF-8
    found, rest = split_metadata(text(metadata) + b" " * spaces)
    assert found == metadata
    assert split_metadata(text(other)) == (other, rest)
    assert parse_header(text(metadata), 8 + len(text(metadata)) + 24).metadata == metadata


def test_a_rest_holds_late_metadata_and_tells_tensors_apart() -> None:
    for whole in ({"a": entry()}, {"a": entry(), "__metadata__": {"b": "c"}}):
        text = json.dumps(whole)
        assert split_metadata(text.encode() + b"  ") == ({}, text)
    one, other = ({"__metadata__": {"a": "b"}, "a": entry(shape=shape)} for shape in ([2, 3], [3, 2]))
    assert split_metadata(json.dumps(one).encode())[1] != split_metadata(json.dumps(other).encode())[1]


def test_a_header_longer_than_the_first_read_is_read(tmp_path: Path) -> None:
    content = {f"tensor {i}": np.zeros(1, np.float32) for i in range(2_000)}
    path = tmp_path / "some.safetensors"
    path.write_bytes(save({name: torch.from_numpy(one) for name, one in content.items()}))
    assert len(read_header(path).entries) == 2_000


# Lies

MANY = {f"t{i}": entry("U8", [1], [i, i + 1]) for i in range(3)}
LIES: dict[str, tuple[object, str]] = {
    "a hole at the start": ({"a": entry(offsets=[4, 28])}, "data offsets that leave a gap before tensor 'a'"),
    "a hole between": (MANY | {"t2": entry("U8", [1], [3, 4])}, "leave a gap before tensor 't2'"),
    "an overlap": (MANY | {"t2": entry("U8", [2], [1, 3])}, "overlap before tensor 't2'"),
    "one place twice": ({"a": entry(), "b": entry()}, "overlap before tensor 'b'"),
    "a size that is not the shape's": ({"a": entry(shape=[2, 4])}, r"'a' of dtype F32, shape \[2, 4\] and 24 bytes"),
    "a size that is not the dtype's": ({"a": entry("F16")}, r"'a' of dtype F16, shape \[2, 3\] and 24 bytes"),
    "offsets in the wrong order": ({"a": entry(offsets=[24, 0])}, r"'a' of dtype F32, shape \[2, 3\] and -24 bytes"),
    "a negative offset": ({"a": entry(offsets=[-24, 0])}, r"'a' of shape \[2, 3\] at \[-24, 0\]"),
    "an offset that is no integer": ({"a": entry(offsets=[0, 24.0])}, r"'a' of shape \[2, 3\] at \[0, 24\.0\]"),
    "an offset that is true": ({"a": entry(shape=[], dtype="U8", offsets=[0, True])}, r"at \[0, True\]"),
    "an endless offset": ({"a": entry(offsets=[0, float("inf")])}, r"at \[0, inf\]"),
    "a huge offset": ({"a": entry(offsets=[0, 1 << 70])}, "at "),
    "three offsets": ({"a": entry(offsets=[0, 24, 24])}, "'a' without dtype, shape and two offsets"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2, 3]}}, "'a' without dtype, shape and two offsets"),
    "a tensor that is none": ({"a": 1}, "'a' without dtype, shape and two offsets"),
    "a shape that is none": ({"a": entry(shape="23")}, "'a' of shape 23"),
    "a negative shape": ({"a": entry(shape=[-2, -3])}, r"'a' of shape \[-2, -3\]"),
    "a shape of a thousand numbers": ({"a": entry(shape=[1] * 1000)}, r"'a' of shape \[1, 1, 1"),
    "an unknown dtype": ({"a": entry("F33")}, "'a' of the unknown dtype F33"),
    "a dtype that is no text": ({"a": entry(4)}, "'a' of the unknown dtype 4"),  # type: ignore[arg-type]
    "metadata that are no texts": ({"__metadata__": {"a": 1}}, "metadata that are no texts by name"),
    "metadata that are a list": ({"__metadata__": ["a"]}, "metadata that are no texts by name"),
    "no JSON": (b"{]", "a header that is no JSON"),
    "no UTF-8": (b'{"\xff":1}', "a header that is no JSON"),
    "UTF-16": ("{}".encode("utf-16"), "a header that is no JSON"),
    "a deep list": (b"[" * 100_000, "a header that is no JSON"),
    "a list": (b"[]", "a header that is no JSON object"),
    "a tensor twice": (b'{"a":1,"b":2,"a":3}', "a header that names 'a' twice"),
    "a dtype twice": (b'{"a":{"dtype":"F32","dtype":"F16"}}', "a header that names 'dtype' twice"),
}


@pytest.mark.parametrize(("header", "found"), LIES.values(), ids=LIES.keys())
def test_a_header_that_lies_is_refused(header: object, found: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", header)
    with pytest.raises(
        LoraPerfError, match=rf"a whole safetensors file at .*a\.safetensors; found .*{found}.*; write or fetch"
    ):
        read_header(path)


@pytest.mark.parametrize("nbytes", [0, 1, 23, 25, 1000])
def test_a_file_of_another_size_than_promised_is_refused(nbytes: int, tmp_path: Path) -> None:
    text = len(json.dumps({"a": entry()}))
    promise = rf"found {8 + text + nbytes:,} bytes where the header promises {8 + text + 24:,} \(truncated or damaged\)"
    with pytest.raises(LoraPerfError, match=promise):
        read_header(write(tmp_path / "a.safetensors", {"a": entry()}, nbytes))


def test_things_that_are_no_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    for name, found in {
        "folder": "a folder",
        "pipe": "no regular file",
        "link": "a broken symbolic link",
        "nothing": "No such file or directory",
    }.items():
        with pytest.raises(LoraPerfError, match=rf"{name}; found {found};"):
            read_header(tmp_path / name)


@given(data=st.data())
def test_no_bytes_make_the_parser_crash(data: st.DataObject) -> None:
    text = bytearray(json.dumps({"__metadata__": {"a": "b"}, "a": entry(), "b": entry(offsets=[24, 48])}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from(b'{}[]",:0123456789-ab\\\xff '))
    try:
        header = parse_header(bytes(text), 8 + len(text) + 48)
    except HeaderError:
        return
    assert sum(one.end - one.begin for one in header.entries.values()) == 48
    assert all(isinstance(one, Entry) for one in header.entries.values())


def pickled(write: Callable[[Path], object]) -> bytes:
    with TemporaryDirectory() as folder:
        write(Path(folder, "a"))
        return Path(folder, "a").read_bytes()


PICKLE = r"found a pickle \(a file of torch\.save under another name\), which is never"
OTHER_KINDS = {
    "nothing": (b"", "found an empty file;"),
    "three bytes": (b"\x01\0\0", "found 3 bytes;"),
    "a header of 2 GB": (struct.pack("<Q", 2 << 30) + b"{}", "found a header of 2,147,483,648 bytes in a file of 10;"),
    "a header that ends early": (struct.pack("<Q", 3) + b"{}", "found a header of 3 bytes in a file of 10;"),
    "ones": (b"\xff" * 64, "found a header of 18,446,744,073,709,551,615 bytes in a file of 64;"),
    **{
        f"a pickle of protocol {protocol}": (pickle.dumps({"a": list(range(100))}, protocol), PICKLE)
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
    **{
        f"a file of torch, zipped {zipped}": (
            pickled(lambda path, zipped=zipped: torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=zipped)),
            "found a pickle",
        )
        for zipped in (True, False)
    },
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234567\n",
        "found a pointer of Git LFS, not the file itself; fetch the content with `git lfs pull`",
    ),
    "a page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "found an HTML page; fetch the file again: a server sent"),
    "a page after a byte order mark": ("\ufeff\n<html>".encode(), "found an HTML page"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "found an XML document"),
    "an error as JSON": (
        b'{"error": "Unauthorized"}',
        r"found JSON text, '\{\"error\": \"Unauthorized\"\}'; fetch the file again",
    ),
    "JSON with a brace in the ninth place": (b'{"a": 1,{}}' + b" " * 60, "found JSON text"),
    "a sentence": ("Entry not found: élan".encode(), "found plain text, 'Entry not found: élan'"),
    "a long text cut within a character": (("x" * 511 + "é" * 400).encode(), "found plain text, 'xxx"),
    "gzip": (b"\x1f\x8b" + bytes(range(40)), "found a gzip archive"),
    "zip": (b"PK\x03\x04" + bytes(40), "found a pickle"),
    "GGUF": (b"GGUF" + bytes(40), "found a GGUF file"),
    "NumPy": (b"\x93NUMPY" + bytes(range(40)), "found a NumPy file"),
    "parquet": (b"PAR1" + bytes(range(40)), "found a parquet file"),
    "zeros": (bytes(4096), "found zeros in the place of a header, as an unfinished download leaves them"),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_file_of_another_kind_is_recognised_by_its_beginning(kind: str, tmp_path: Path) -> None:
    content, message = OTHER_KINDS[kind]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(LoraPerfError, match=message):
        read_header(path)
