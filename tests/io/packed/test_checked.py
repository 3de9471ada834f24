"""Values and records under a checksum: any byte that is not as it was written makes them absent, with a warning."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from lora_perf.io.checked import read_record, read_values, write_record, write_values

VALUES = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
RECORD = {"runs": [{"accuracy": 0.1, "seed": None, "curve": [1e-300, 0.3333333333333333]}], "names": ["é", "\ud800"]}
Read = Callable[[Path, str], Any]


class Stored(NamedTuple):
    """A file, what reads it, and what was written."""

    path: Path
    read: Read
    truth: Any


@pytest.fixture
def values(tmp_path: Path) -> Stored:
    write_values(tmp_path / "values.safetensors", "key", VALUES)
    return Stored(tmp_path / "values.safetensors", read_values, VALUES)


@pytest.fixture
def record(tmp_path: Path) -> Stored:
    write_record(tmp_path / "cell.json", "key", RECORD)
    return Stored(tmp_path / "cell.json", read_record, RECORD)


@pytest.fixture(params=["values", "record"])
def stored(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_values_come_back_and_any_reader_of_safetensors_takes_them(values: Stored) -> None:
    for found in (read_values(values.path, "key"), load_file(values.path)["values"]):
        assert found is not None
        assert found.dtype == torch.float32
        assert torch.equal(found, VALUES)


def test_values_with_strides_or_of_no_columns_or_that_are_no_numbers_come_back(tmp_path: Path) -> None:
    special = torch.tensor([[float("nan"), float("inf"), -0.0]])
    for matrix in (VALUES.T, VALUES[::2], torch.empty(4, 0), special):
        write_values(tmp_path / "file", "key", matrix)
        found = read_values(tmp_path / "file", "key")
        assert found is not None
        assert found.shape == matrix.shape
        assert torch.equal(found.view(torch.int32), matrix.contiguous().view(torch.int32))


def test_a_record_comes_back_though_another_program_wrote_it_anew(record: Stored) -> None:
    assert read_record(record.path, "key") == RECORD
    record.path.write_text(json.dumps(json.loads(record.path.read_text()), indent=3))
    assert read_record(record.path, "key") == RECORD


@pytest.mark.parametrize("read", [read_values, read_record])
def test_what_is_not_there_is_absent_without_a_word(read: Read, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read(tmp_path / "no" / "file", "key") is None
    assert caplog.records == []


def lost(read: Read, path: Path, truth: Any, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether a damage was noticed: nothing was read, and a warning names the file. Where it was not, the content is right."""
    caplog.clear()
    found = read(path, "key")
    if found is not None:
        assert torch.equal(found, truth) if isinstance(truth, torch.Tensor) else found == truth
        return False
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    assert str(path) in told.getMessage()
    assert "is not used and made anew: found " in told.getMessage()
    return True


@pytest.mark.parametrize("bit", [0, 3, 5, 7])
def test_every_flipped_bit_is_noticed(bit: int, stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    path, content, unnoticed = stored.path, stored.path.read_bytes(), []
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        if not lost(stored.read, path, stored.truth, caplog):
            unnoticed.append(content[place : place + 1])
    assert set(b"".join(unnoticed)) <= set(b" abcdef"), "more than blanks and the case of digits and exponents went unnoticed"


def test_every_length_but_the_whole_is_noticed(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    content = stored.path.read_bytes()
    for length in range(len(content)):
        stored.path.write_bytes(content[:length])
        assert lost(stored.read, stored.path, stored.truth, caplog)


def test_content_of_another_key_is_noticed(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    assert stored.read(stored.path, "another") is None
    assert "of another key" in caplog.text


TEXTS = (
    *("", "[]", "null", "5", '"text"', "{}", '{"key":"key"}', "[" * 100_000, "1" * 5000, "NaN"),
    '{"key":"key","checksum":1,"record":2}',
)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:12])
@pytest.mark.parametrize("read", [read_values, read_record])
def test_no_text_makes_a_reader_crash(read: Read, text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text(text)
    assert lost(read, tmp_path / "file", None, caplog)


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "loop"])
@pytest.mark.parametrize("read", [read_values, read_record])
def test_what_is_no_file_makes_nobody_wait(read: Read, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    assert lost(read, path, None, caplog)
