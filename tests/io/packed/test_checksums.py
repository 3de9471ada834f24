"""Every byte of a packed file is under a checksum: that of its header and labels when it is opened, that of its rows later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torch.testing import assert_close

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import DamagedError, Zoo
from lora_perf.io.headers import read_header
from lora_perf.io.store import open_packed, verify
from lora_perf.zoos import EMBEDDED
from tests.io.packed.files import MakeZoo, change, join, parts, with_tables


def flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def whole(zoo: Zoo) -> tuple[object, ...]:
    tables = [None if table is None else table.tolist() for table in (zoo.labels, zoo.split, zoo.scales, zoo.ranks)]
    return zoo.layout, zoo.classes, zoo.name, tables


@pytest.mark.parametrize("bit", [0, 5, 7])
def test_a_flipped_bit_beside_the_rows_is_found_when_the_file_is_opened(bit: int, complete: Path) -> None:
    content, header, truth = complete.read_bytes(), read_header(complete), whole(open_packed(complete))
    rows = header.entries["rows"]
    text_end = content.index(b"}}", 8) + 2  # blanks follow up to a page
    places = [*range(text_end), *range(header.begin, header.begin + rows.begin), *range(header.begin + rows.end, len(content))]
    told = False
    for place in places:
        complete.write_bytes(flipped(content, place, bit))
        try:
            found = whole(open_packed(complete))
        except LoraPerfError as error:
            told |= "found a header or labels that differ from those that were packed" in str(error)
            continue
        assert found == truth, f"byte {place} of {content[place - 20 : place + 20]!r}"
        assert content[place : place + 1] == b" ", f"byte {place} of {content[place - 20 : place + 20]!r} went unnoticed"
    assert told


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_in_the_rows_is_found_when_they_are_hashed(bit: int, packed: Path) -> None:
    content, header = packed.read_bytes(), read_header(packed)
    rows = header.entries["rows"]
    for place in range(header.begin + rows.begin, header.begin + rows.end, 3):
        packed.write_bytes(flipped(content, place, bit))
        zoo = open_packed(packed)
        with pytest.raises(
            DamagedError, match=rf"an undamaged packed zoo at {packed}; found content of fingerprint .* was packed"
        ):
            _ = zoo.fingerprint


def test_opening_reads_no_row(packed: Path) -> None:
    content, header = bytearray(packed.read_bytes()), read_header(packed)
    rows = header.entries["rows"]
    content[header.begin + rows.begin : header.begin + rows.end] = os.urandom(rows.end - rows.begin)
    packed.write_bytes(content)
    assert len(open_packed(packed)) == 7


def test_files_of_before_without_a_checksum_open(random_zoo: MakeZoo, complete: Path) -> None:
    header, data = parts(complete)
    join(complete, change(header, ("__metadata__", "checksum"), ...), data)
    assert verify(complete) == with_tables(random_zoo()).fingerprint
    assert_close(open_packed(complete).scales, with_tables(random_zoo()).scales)
    for path in EMBEDDED.values():
        assert "checksum" not in read_header(path).metadata
        assert len(open_packed(path)) == 1000


@pytest.mark.parametrize("other", ["checksun", "Checksum", "added"])
def test_a_checksum_under_another_name_is_no_file_of_before(other: str, complete: Path) -> None:
    header, data = parts(complete)
    metadata = {other if key == "checksum" else key: value for key, value in header["__metadata__"].items()}
    join(complete, {**header, "__metadata__": metadata}, data)
    with pytest.raises(DamagedError, match=rf"metadata of unknown names \({other}\)"):
        open_packed(complete)


def test_a_header_that_another_program_wrote_down_anew_is_the_same(random_zoo: MakeZoo, complete: Path) -> None:
    header, data = parts(complete)
    join(complete, {name: header[name] for name in sorted(header, reverse=True)}, data)
    assert verify(complete) == with_tables(random_zoo()).fingerprint


def test_a_zoo_made_of_the_rows_of_a_packed_one_promises_nothing(packed: Path) -> None:
    zoo = open_packed(packed)
    other = Zoo(zoo.source, zoo.layout, zoo.labels * 0, zoo.classes)
    assert other.fingerprint != zoo.fingerprint
