"""The header of a safetensors file, read strictly: what it says of the data section is true or the file is refused."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_perf.core.errors import LoraPerfError, listed

_LIMIT = 100 << 20  # bytes of a header, the limit of the format
_METADATA = "__metadata__"
_METADATA_FIRST = re.compile(r'\{[ \t\r\n]*"__metadata__"[ \t\r\n]*:[ \t\r\n]*')
_DIMENSIONS = 64  # of a tensor, more than any library has: a product of a million numbers would take for ever
# Bits of one value, all that the format knows.
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
_PICKLE = "a pickle (a file of torch.save under another name), which is never unpickled"
_LFS = b"version https://git-lfs"
# How other files begin that people find under this name. A safetensors file begins with a length, then "{".
_BEGINNINGS = {
    b"PK\x03\x04": _PICKLE,
    **{bytes((0x80, protocol)): _PICKLE for protocol in range(2, 6)},
    _LFS: "a pointer of Git LFS, not the file itself",
    b"\x1f\x8b": "a gzip archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"GGUF": "a GGUF file of llama.cpp",
    b"\x93NUMPY": "a NumPy file",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a parquet file",
    b"ARROW1": "an Arrow file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF",
}
_CURES = {
    _LFS: "fetch the content with `git lfs pull`, or with `hf download`",
    b"PK\x03\x04": "convert it with the program that wrote it, in an environment that you trust",
}


_FIX = "write or fetch the file again"


class HeaderError(ValueError):
    """What is wrong with a file, as a noun phrase; whoever knows its name makes a message of it, with `fix` as the cure."""

    def __init__(self, found: str, fix: str = _FIX) -> None:
        super().__init__(found)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: its dtype as the format writes it, its shape, and its bytes from the beginning of the data section."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says.

    Attributes:
        entries: the tensors by name, in the order of the header. Their bytes fill the data section without gap or overlap.
        metadata: free text by name.
        begin: where the data section begins in the file.
        end: where it ends, which is the size of the file.
    """

    entries: dict[str, Entry]
    metadata: dict[str, str]
    begin: int
    end: int


def read_header(path: str | Path) -> Header:
    """The header of a file.

    Raises:
        LoraPerfError: the file cannot be read, is no safetensors file, or is not what its header says.
    """
    try:
        descriptor, status = open_file(path)
        try:
            return parse_header(read_text(descriptor, status.st_size), status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        found, fix = reason(error, path), _FIX
    except HeaderError as error:
        found, fix = str(error), error.fix
    raise bad_file(path, found, fix)


def bad_file(path: str | Path, found: str, fix: str = _FIX) -> LoraPerfError:
    return LoraPerfError(expected=f"a whole safetensors file at {path}", found=found, fix=fix)


def reason(error: OSError, path: str | Path) -> str:
    """Why a file could not be opened or read."""
    if isinstance(error, FileNotFoundError) and os.path.islink(path):
        return "a broken symbolic link"
    return error.strerror or str(error)


def open_file(path: str | Path) -> tuple[int, os.stat_result]:
    """The descriptor of a regular file, which the caller closes, and its status; a pipe makes nobody wait.

    Raises:
        OSError: it cannot be opened.
        HeaderError: it is a folder or something else that is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise HeaderError("a folder" if stat.S_ISDIR(status.st_mode) else "no regular file")
    return descriptor, status


def read_whole(path: str | Path) -> bytes:
    """All bytes of a regular file; raises as `open_file`."""
    descriptor, _ = open_file(path)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def read_text(descriptor: int, size: int, guess: int = 1 << 15) -> bytes:
    """The text of the header of a file of `size` bytes, by one call to the system where `guess` bytes hold it.

    Raises:
        OSError: the file cannot be read.
        HeaderError: it is too short, or begins like a file of another kind, which is named.
    """
    start = os.pread(descriptor, max(guess, 8), 0)
    if len(start) < 8:
        raise HeaderError("an empty file" if not start else f"{len(start)} bytes")
    length = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or length > min(_LIMIT, size - 8):
        _refuse_other_kind(start)
    if length > min(_LIMIT, size - 8):
        raise HeaderError(f"a header of {length:,} bytes in a file of {size:,}")
    missing = 8 + length - len(start)
    if missing > 0:
        start += os.pread(descriptor, missing, len(start))
    if len(start) < 8 + length:
        raise HeaderError("the end of the file in its header")
    return start[8 : 8 + length]


def refuse_page(data: bytes) -> None:
    """Raises HeaderError where what stands in the place of a file is taken for a table or a configuration."""
    begin = data[:512].lstrip()
    if begin.startswith(_LFS) or re.match(rb"<(!doctype html|html|head|body|\?xml)", begin, re.IGNORECASE):
        _refuse_other_kind(begin)


def _refuse_other_kind(start: bytes) -> None:
    """Raises HeaderError where a file begins like one of another kind."""
    for beginning, kind in _BEGINNINGS.items():
        if start.startswith(beginning):
            raise HeaderError(kind, _CURES.get(beginning, _FIX))
    if start[257:262] == b"ustar":
        raise HeaderError("a tar archive")
    if not any(start[:512]):
        raise HeaderError("zeros in the place of a header, as an unfinished download leaves them")
    try:
        # A character that the first bytes cut in two is no reason against a text.
        text = start[:512].decode(errors="strict" if len(start) <= 512 else "ignore").lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError:
        return
    if not text or not all(character.isprintable() or character in "\t\r\n" for character in text):
        return
    again = "fetch the file again: a server sent this in its place, as it does for an address that is wrong or needs a login"
    if re.match(r"<(!doctype html|html|head|body|\?xml)", text, re.IGNORECASE):
        raise HeaderError("an HTML page" if "html" in text.lower() else "an XML document", again)
    first = text.splitlines()[0][:60]
    raise HeaderError(f"JSON text, {first!r}" if text[0] in "{[" else f"plain text, {first!r}", again)


def parse_header(text: bytes, size: int) -> Header:
    """What the text of a header says of a file of `size` bytes.

    Raises:
        HeaderError: it is no JSON object, names a tensor twice, or contradicts itself or `size`.
    """
    try:
        header = json.loads(text.decode(), object_pairs_hook=_once)
    except HeaderError:
        raise
    except (ValueError, RecursionError):
        raise HeaderError("a header that is no JSON") from None
    if not isinstance(header, dict):
        raise HeaderError("a header that is no JSON object")
    metadata = _texts(header.pop(_METADATA, None))
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            between = "overlap" if entry.begin < end else "leave a gap"
            raise HeaderError(f"data offsets that {between} before tensor {name[:80]!r}")
        end = entry.end
    check_size(size, 8 + len(text) + end)
    return Header(entries, metadata, 8 + len(text), size)


def check_size(size: int, promised: int) -> None:
    """Raises HeaderError where a file has another size than its header promises."""
    if size != promised:
        raise HeaderError(f"{size:,} bytes where the header promises {promised:,} (truncated or damaged)")


def split_metadata(text: bytes) -> tuple[dict[str, str], str]:
    """The metadata of a header and the rest of its text without its padding, which files of one layout have in common.

    Raises:
        HeaderError: the text or the metadata are no JSON.
    """
    try:
        whole = text.decode()
        first = _METADATA_FIRST.match(whole)
        if first is None:
            return {}, whole.rstrip(" ")  # an unusual writer's metadata, which stand behind, count as part of the rest
        metadata, end = json.JSONDecoder(object_pairs_hook=_once).raw_decode(whole, first.end())
    except HeaderError:
        raise
    except (ValueError, RecursionError):
        raise HeaderError("a header that is no JSON") from None
    return _texts(metadata), whole[end:].rstrip(" ")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise HeaderError(f"a header that names {listed(map(repr, repeated), 3)} twice")
    return found


def _texts(metadata: Any) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise HeaderError("metadata that are no texts by name")
    return metadata


def _entry(name: str, entry: Any) -> Entry:
    tensor = f"a tensor {name[:80]!r}"
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise HeaderError(f"{tensor} without dtype, shape and two offsets") from None
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS or not all(map(_is_count, (*shape, begin, end))):
        raise HeaderError(f"{tensor} of shape {str(shape)[:80]} at {str(entry['data_offsets'])[:80]}")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise HeaderError(f"{tensor} of the unknown dtype {str(dtype)[:80]}")
    if 8 * (end - begin) != math.prod(shape) * _BITS[dtype]:
        raise HeaderError(f"{tensor} of dtype {dtype}, shape {shape} and {end - begin:,} bytes")
    return Entry(dtype, tuple(shape), begin, end)


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < 1 << 63
