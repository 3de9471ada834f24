"""Bad files in a folder of adapters: each is named in an error, or left out and reported; none leaves half a row."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import lora_perf
from lora_perf.core.zoo import Skipped
from tests.io.adapters import factors, raw, row, save, tensors, zoo_folder
from tests.io.checks import refuses


def header_of(path: Path) -> tuple[dict[str, dict[str, object]], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def lie(path: Path, key: str, value: object) -> None:
    """Changes one field of the first tensor in a file's header."""
    header, data = header_of(path)
    header[min(header)][key] = value
    raw(path, json.dumps(header).encode(), data)


def twice(path: Path) -> None:
    header, data = header_of(path)
    text = json.dumps(header)
    raw(path, f"{text[:-1]}, {text[1:]}".encode(), data)


def unpaired(path: Path) -> None:
    content = tensors(factors())
    content.popitem()
    save(path, content)


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "an empty file"),
    "cut in the length": (lambda path: path.write_bytes(b"\x10\0\0"), "3 bytes"),
    "cut in the header": (lambda path: path.write_bytes(path.read_bytes()[:100]), r"a header of \d+ bytes in a file of 100"),
    "cut in the data": (lambda path: os.truncate(path, path.stat().st_size - 1), "where the header promises"),
    "too long": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "where the header promises"),
    "a header of 2 GB": (lambda path: path.write_bytes(struct.pack("<Q", 2 << 30) + b"{}"), "a header of 2,147,483,648"),
    "no JSON": (lambda path: raw(path, b"{nonsense}"), "a header that is no JSON"),
    "a list": (lambda path: raw(path, b"[]"), "a header that is no JSON object"),
    "names twice": (twice, r"a header that names 'unet.*\(6 in all\) twice"),
    "offsets that overlap": (lambda path: lie(path, "data_offsets", [1, 49]), "data offsets that leave a gap"),
    "offsets out of the file": (lambda path: lie(path, "data_offsets", [1 << 40, (1 << 40) + 48]), "leave a gap|overlap"),
    "another shape": (lambda path: lie(path, "shape", [3, 6]), r"dtype F32, shape \[3, 6\] and 48 bytes"),
    "another dtype": (lambda path: lie(path, "dtype", "F16"), "dtype F16"),
    "integers": (lambda path: lie(path, "dtype", "I32"), "I32"),
    "an unknown dtype": (lambda path: lie(path, "dtype", "F1"), "the unknown dtype F1"),
    "no tensor": (lambda path: raw(path, b"{}"), "no tensor"),
    "no LoRA": (lambda path: save(path, {"model.weight": torch.zeros(3)}), "model.weight"),
    "one side": (unpaired, "1 without partner"),
    "a pickle": (lambda path: torch.save({"a": 1}, path), "a pickle .* which is never unpickled"),
    "a folder": (lambda path: replace(path, Path.mkdir), "a folder"),
    "a pipe": (lambda path: replace(path, os.mkfifo), "no regular file"),
    "a broken link": (lambda path: replace(path, lambda link: link.symlink_to("nowhere")), "a broken symbolic link"),
    "a link to itself": (lambda path: replace(path, lambda link: link.symlink_to(link.name)), "symbolic links"),
    "other modules": (lambda path: save(path, tensors(factors(modules={"x": (2, 2)}))), r"1 more \(x\), 3 missing"),
}


@pytest.mark.parametrize(("spoil", "found"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_named_or_left_out_and_reported_where_it_may(
    spoil: Callable[[Path], object], found: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = zoo_folder(tmp_path)
    expected = torch.stack([row(path) for path in (paths[0], *paths[2:])])
    spoil(paths[1])
    refuses(tmp_path, rf"{re.escape(str(paths[1]))}; found .*({found}).*; .*, or leave such files out with skip_")
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert_close(zoo.rows, expected, rtol=0, atol=0)
    assert zoo.labels.tolist() == [0, 1, 1]
    (skipped,) = zoo.skipped
    assert skipped.path == "cat/2.safetensors"
    assert re.search(found, skipped.reason)
    assert caplog.messages == [f"left out: {skipped.reason}"]


def test_a_class_of_bad_files_alone_is_no_class(tmp_path: Path) -> None:
    for path in zoo_folder(tmp_path)[:2]:
        path.write_bytes(b"")
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert (zoo.classes, zoo.labels.tolist()) == (["dog"], [0, 0])
    assert [one.path for one in zoo.skipped] == ["cat/0.safetensors", "cat/2.safetensors"]
    packed = lora_perf.pack(tmp_path, tmp_path / "zoo.safetensors", skip_bad=True)
    assert lora_perf.load(packed).fingerprint == zoo.fingerprint
    assert all(isinstance(one, Skipped) for one in zoo.skipped)


def test_a_folder_of_bad_files_alone_is_refused(tmp_path: Path) -> None:
    for path in zoo_folder(tmp_path):
        path.write_bytes(b"")
    message = (
        r"at least one adapter in .* that can be used; found 4 that cannot; the first: .*cat/0\.safetensors; found an empty"
    )
    refuses(tmp_path, message, skip_bad=True)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser may read everything: the system's refusal is simulated."""
    paths = zoo_folder(tmp_path)
    opened = os.open

    def refuse(path: str, *arguments: int) -> int:
        if str(path) == str(paths[0]):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    refuses(tmp_path, r"cat/0\.safetensors; found Permission denied")
    assert len(lora_perf.load(tmp_path, skip_bad=True).skipped) == 1


def test_a_file_that_shrinks_while_it_is_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo_folder(tmp_path)
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, place: read(file, min(count, 500), place) if place == 0 else b"")
    refuses(tmp_path, r"cat/0\.safetensors; found the end of the file in its header")


def test_pickles_are_counted_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = zoo_folder(tmp_path)
    for name in ("a.bin", "b.pt", "c.ckpt"):
        (tmp_path / "cat" / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert_close(lora_perf.load(tmp_path).rows, torch.stack([row(path) for path in paths]), rtol=0, atol=0)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: 3 files of pickles (.bin, .pt, .ckpt) left alone: they are never unpickled"
    ]


def test_a_folder_of_pickles_alone_says_so(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "pytorch_lora_weights.bin").write_bytes(b"x")
    refuses(tmp_path, r"\*\.safetensors \(1 pickles such as \.bin and \.pt, which are never unpickled\)")


def test_a_single_adapter_is_a_zoo_of_one(tmp_path: Path) -> None:
    path = zoo_folder(tmp_path)[0]
    zoo = lora_perf.load(path)
    assert (len(zoo), zoo.labels, zoo.names) == (1, None, [path.name])
    assert_close(zoo.rows, lora_perf.load(tmp_path).rows[:1])
