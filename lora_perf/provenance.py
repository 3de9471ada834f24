"""What a result depends on beside its settings: the code, the versions and the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from functools import cache
from pathlib import Path

import torch
import xxhash

_PACKAGE = Path(__file__).parent
_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "datasets", "pyarrow", "safetensors", "xxhash")
# The parts of the package that only show results: an edit there makes no number of another origin.
_PRESENTATION = (
    *("report/", "inspect/", "audit/", "zoos/", "command.py"),
    *("experiment/console.py", "experiment/__main__.py"),
)


@cache
def code_version(part: str = "") -> str:
    """A hash of the package's source files (below `part`, where given) and of the versions of torch and numpy."""
    digest = xxhash.xxh3_128(f"{torch.__version__} {importlib.metadata.version('numpy')}".encode())
    for path in sorted((_PACKAGE / part).rglob("*.py")):
        name = path.relative_to(_PACKAGE).as_posix()
        if part or not name.startswith(_PRESENTATION):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for name in ("lora_perf", *_LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    found["code"] = code_version()
    return found


def machine(device: torch.device) -> dict[str, str | int]:
    """The hardware that a run used; no name of the machine or its user."""
    facts: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "torch_threads": torch.get_num_threads(),
        "device": str(device),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["gpu"] = properties.name
        facts["gpu_memory_bytes"] = properties.total_memory
    return facts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
