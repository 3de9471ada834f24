"""Folders of adapter files while their zoo is open: when files are read, and that a changed one is reported."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import lora_perf
from lora_perf.core.errors import LoraPerfError
from tests.io.adapters import assert_rows, factors, row, save, save_in_order, tensors, zoo_folder


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))


def cut(path: Path) -> None:
    times = path.stat()
    os.truncate(path, times.st_size - 1)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (changed, "another one, written since"),
        (cut, "another one, written since"),
        (replaced, "a folder"),
        (Path.unlink, "No such file or directory"),
    ],
)
def test_a_file_that_changed_while_the_zoo_is_open_is_reported(change: Any, found: str, tmp_path: Path) -> None:
    paths = zoo_folder(tmp_path)
    zoo = lora_perf.load(tmp_path)
    change(paths[2])
    with pytest.raises(LoraPerfError, match=rf"that was opened at .*/dog/1\.safetensors; found {found}; load the folder again"):
        list(zoo.blocks())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_file_that_ends_while_it_is_read_is_reported(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "cat" / "a.safetensors", tensors(factors(dtype=dtype)))
    zoo = lora_perf.load(tmp_path)
    whole = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda file, views, place: whole(file, [view[:2] for view in views[:1]], place) * (place < 700)
    )
    with pytest.raises(LoraPerfError, match=r"cat/a\.safetensors; found the end of the file; load the folder again"):
        _ = zoo.rows


def test_a_system_that_reads_a_few_bytes_a_call_reads_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_in_order(tmp_path / "cat" / "a.safetensors", dict(reversed(tensors(factors()).items())))
    whole = os.preadv

    def few(file: int, views: list[memoryview], place: int) -> int:
        left, chosen = 100, []
        for view in views:
            chosen.append(view[:left])
            left -= len(chosen[-1])
        return whole(file, chosen, place)

    monkeypatch.setattr(os, "preadv", few)
    assert_rows(lora_perf.load(tmp_path), row(path)[None])


def test_nothing_is_read_of_the_weights_before_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo_folder(tmp_path)
    monkeypatch.setattr(os, "preadv", lambda *_: pytest.fail("read"))
    assert len(lora_perf.load(tmp_path)) == 4


def test_headers_that_were_seen_are_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(9):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i)), {"ss_output_name": "x" * (i // 3)})
    import lora_perf.io.files.reader as reader

    parsed = []
    parse = reader.parse_header
    monkeypatch.setattr(reader, "parse_header", lambda text, size: parsed.append(text) or parse(text, size))
    assert len(lora_perf.load(tmp_path)) == 9
    assert len(parsed) == 1


def test_a_copy_of_the_folder_has_the_same_fingerprint(tmp_path: Path) -> None:
    zoo_folder(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert lora_perf.load(tmp_path / "one").fingerprint == lora_perf.load(tmp_path / "two").fingerprint
