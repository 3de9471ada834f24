"""What a packed file may take the place of: its own kind, and nothing that holds other weights."""

from __future__ import annotations

import os
from pathlib import Path

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.headers import HeaderError, open_file, parse_header, read_text

# How data sets and checkpoints begin; the fourth is a stream of Arrow, as `datasets` saves them.
_BEGINNINGS = {
    b"PAR1": "a parquet file",
    b"ARROW1": "an Arrow file",
    b"FEA1": "a Feather file",
    b"\xff\xff\xff\xff": "an Arrow file",
    b"PK\x03\x04": "a checkpoint or an archive",
    b"\x93NUMPY": "a NumPy file",
    b"GGUF": "a GGUF file",
}


def refuse_weights(path: Path) -> None:
    """Refuses to write a packed file over weights of another kind, such as the very source that is packed.

    What is damaged, and so the weights of nobody, may be written again.

    Raises:
        LoraPerfError: such a file stands there.
    """
    found = _weights_at(path)
    if found is not None:
        raise LoraPerfError(
            expected=f"a new file, or a packed one to write again, at {path}",
            found=found,
            fix="choose another path, or remove the file first",
        )


def _weights_at(path: Path) -> str | None:
    try:
        descriptor, status = open_file(path)
        with os.fdopen(descriptor, "rb") as file:
            begin = os.pread(file.fileno(), 8, 0)
            for magic, kind in _BEGINNINGS.items():
                if begin.startswith(magic):
                    return kind
            header = parse_header(read_text(file.fileno(), status.st_size), status.st_size)
    except (OSError, ValueError, HeaderError):  # ValueError: no path at all
        return None
    if not header.entries or "rows" in header.entries:  # a packed file, also where its metadata are damaged
        return None
    return "a safetensors file of other tensors"
