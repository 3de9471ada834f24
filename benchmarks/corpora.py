"""Data on disk for the workloads: real forms, random content, made once outside every measured time.

A corpus is a synthetic zoo of the layout of Stable Diffusion 1.5. Its folder's name holds a hash of what it was made from
and of the code that made it, so that an old one is never taken for a new one. It is made by the package of this working
tree in a process of its own, also where an older commit is measured, so that all commits read the same bytes.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from benchmarks import surface

if TYPE_CHECKING:
    from torch import Tensor

    from lora_perf import Zoo

ROOT = Path(__file__).parent.parent

# Adapters of 99,648 parameters: 398.6 kB a row in float32.
SCALES = {
    "small": 64,  # 25.5 MB
    "medium": 1_000,  # 398.6 MB
    "large": 10_000,  # 3.986 GB
}


def folder() -> Path:
    """Where corpora are kept: LORA_PERF_CORPORA, or `.corpora` in the working tree, which git ignores."""
    return Path(os.environ.get("LORA_PERF_CORPORA", ROOT / ".corpora")).expanduser()


def key(storage: str, adapters: int) -> str:
    """What the content of a corpus depends on, as a short hash."""
    digest = xxhash.xxh3_64(json.dumps([storage, adapters]).encode())
    for source in (*surface.CORPUS_SOURCES, "benchmarks/float16.py"):
        digest.update((ROOT / source).read_bytes())
    return digest.hexdigest()


def path(storage: str, adapters: int) -> Path:
    """The corpus of some storage (nested, array2d, parquet, packed, folder, nested16) and size, made if it is not there yet."""
    name = f"{storage}-{adapters}-{key(storage, adapters)}" + (".safetensors" if storage == "packed" else "")
    target = folder() / name
    if not target.exists():
        source = path("nested", adapters) if storage == "nested16" else None
        folder().mkdir(parents=True, exist_ok=True)
        # Made under another name: what stands under its own name is whole, and was made by the fastest of several processes.
        with tempfile.TemporaryDirectory(prefix="making-", dir=folder()) as making:
            made = Path(making) / name
            if source is not None:
                command = ["benchmarks.float16", str(source), str(made)]
            else:
                command = ["lora_perf.zoos.synthetic", str(made), "--adapters", str(adapters), "--storage", storage]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            subprocess.run([sys.executable, "-m", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
            try:
                made.rename(target)
            except OSError:
                if not target.exists():
                    raise
    return target


def labels_of(zoo: Zoo) -> Tensor:
    """The labels of a zoo that has some, as all corpora have."""
    assert zoo.labels is not None
    return zoo.labels


def evict(file: Path) -> None:
    """Drops a file from the page cache, where the system lets a program do that."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@cache
def scratch() -> Path:
    """A folder for what workloads write, of this process and no longer than it."""
    made = Path(tempfile.mkdtemp(prefix="lora_perf-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def clear() -> None:
    """Removes all corpora."""
    shutil.rmtree(folder(), ignore_errors=True)
