"""Values and records on disk with a checksum: what is read is what was written under this very key, or counts as absent."""

from __future__ import annotations

import json
import logging
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.resources import disk_left
from lora_perf.core.showing import size
from lora_perf.io.atomic import replacing
from lora_perf.io.headers import HeaderError, open_file, parse_header, read_text, read_whole

FORMAT = "lora_perf features 1"  # by which readers of adapters know that a file is none
_log = logging.getLogger(__name__)


def write_values(path: Path, key: str, values: Tensor) -> None:
    """Writes a float32 matrix as a safetensors file, whole or not at all.

    Args:
        key: what the values depend on, hashed; the file is read under this key only.
    """
    array = np.ascontiguousarray(values.detach().cpu().numpy())
    header = {
        "__metadata__": _metadata(key, array),
        "values": {"dtype": "F32", "shape": list(array.shape), "data_offsets": [0, array.nbytes]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as other writers of the format align the data
    refuse_small_disk(path, 8 + len(text) + array.nbytes)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.write(_bytes_of(array))


def read_values(path: Path, key: str) -> Tensor | None:
    """The matrix that was written under a key; None where there is none. One that is not what was written is a warning.

    Cost: the file is read once, and hashed at about the speed of memory.
    """
    try:
        descriptor, status = open_file(path)
        with os.fdopen(descriptor, "rb") as file:
            header = parse_header(read_text(descriptor, status.st_size), status.st_size)
            entry = header.entries.get("values")
            if entry is None or len(header.entries) > 1 or entry.dtype != "F32" or len(entry.shape) != 2:
                raise HeaderError("no matrix of float32 values")
            values = np.empty(entry.shape, np.float32)
            file.seek(header.begin)
            if file.readinto(_bytes_of(values)) < values.nbytes:
                raise HeaderError("the end of the file")
        if header.metadata.get("key") != key:
            raise HeaderError("the values of another key")
        if header.metadata != _metadata(key, values):
            raise HeaderError("other content than was written (its checksum differs)")
    except FileNotFoundError:
        return None
    except (OSError, HeaderError) as error:
        count_as_absent(path, str(error))
        return None
    return torch.from_numpy(values)


def write_record(path: Path, key: str, record: Any) -> None:
    """Writes what JSON can hold, whole or not at all."""
    content = {"key": key, "checksum": _sum_of_record(key, record), "record": record}
    with replacing(path) as file:
        file.write(json.dumps(content, separators=(",", ":")).encode())


def read_record(path: Path, key: str) -> Any | None:
    """The record that was written under a key; None where there is none. One that is not what was written is a warning."""
    try:
        content = json.loads(read_whole(path))
        if not isinstance(content, dict) or content.keys() != {"key", "checksum", "record"}:
            raise HeaderError("no record")
        if content["key"] != key:
            raise HeaderError("the record of another key")
        if content["checksum"] != _sum_of_record(key, content["record"]):
            raise HeaderError("other content than was written (its checksum differs)")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        count_as_absent(path, str(error) if isinstance(error, HeaderError) else "no JSON")
        return None
    except OSError as error:
        count_as_absent(path, error.strerror or str(error))
        return None
    return content["record"]


def refuse_small_disk(path: Path, nbytes: int) -> None:
    """Raises LoraPerfError where a disk has no room for a file of so many bytes, before any is written."""
    left = disk_left(path)
    if nbytes > left:
        raise LoraPerfError(
            expected=f"{size(nbytes)} of room on the disk of {path}",
            found=f"{size(left)} left",
            fix="make room, choose a path on another disk (of the cache: --cache-dir), or use fewer adapters or layers",
        )


def count_as_absent(path: Path, found: str) -> None:
    """Says that a file is not used."""
    _log.warning("%s is not used and made anew: found %s", path, found)


def _metadata(key: str, values: NDArray[np.float32]) -> dict[str, str]:
    return {"format": FORMAT, "key": key, "checksum": _sum_of_values(key, values)}


def _sum_of_values(key: str, values: NDArray[np.float32]) -> str:
    digest = xxhash.xxh3_128(f"{key} {values.shape}".encode())
    digest.update(_bytes_of(values))
    return digest.hexdigest()


def _bytes_of(values: NDArray[np.float32]) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _sum_of_record(key: str, record: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps([key, record], separators=(",", ":")).encode())
