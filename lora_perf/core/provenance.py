"""What a result depends on beside its settings: the code, the versions and the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
import xxhash

from lora_perf.core.sources import imported_names

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "datasets", "pyarrow", "safetensors", "xxhash")
_COMPUTING = ("numpy", "scipy", "scikit-learn")  # beside torch, whose own version tells its build too
# The parts of the package that only show results: an edit there makes no number of another origin.
_PRESENTATION = (
    *("inspect/", "audit/", "zoos/", "command/", "profiling/", "diagnose/", "io/__main__.py", "__main__.py"),
    *(f"core/{name}.py" for name in ("text", "users", "tables", "showing", "resources", "profiling", "pages", "charts")),
    *(f"report/{name}.py" for name in ("__main__", "canvas", "compare", "comparisons", "costs", "drawings", "falls")),
    *(
        f"report/{name}.py"
        for name in ("figures", "files", "findings", "frames", "learning", "lost", "numbers", "page", "predictions")
    ),
    *(f"report/{name}.py" for name in ("ranking", "reading", "results", "sizes", "studies", "summary", "transfer")),
    *(f"report/{name}.py" for name in ("wording", "zoo_figure")),
    *(f"experiment/{name}.py" for name in ("console", "__main__", "folder", "forecast", "logs", "observer", "python")),
)


@cache
def code_version(part: str = "") -> str:
    """A hash of source files and of the versions of the libraries that compute.

    Args:
        part: a file or a folder of the package, which counts with all that it imports; by default everything that shapes a
            number counts. Files that only show results never do.
    """
    digest = xxhash.xxh3_128(torch.__version__.encode())
    for name in _COMPUTING:
        digest.update(f"{name} {_version(name)}".encode())
    for path in _closure(part) if part else sorted(_PACKAGE.rglob("*.py")):
        name = path.relative_to(_PACKAGE).as_posix()
        if not name.startswith(_PRESENTATION):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _closure(part: str) -> list[Path]:
    """The files of a part of the package and those that they import, directly or not, at their top or inside a function.

    The package's own `__init__`, which only lifts names, does not count: it imports everything.
    """
    start = _PACKAGE / part
    waiting = list(start.rglob("*.py")) if start.is_dir() else [start]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return sorted(found)


def _imported(path: Path) -> Iterator[Path]:
    """The files of the package that a file imports, with the `__init__` of the folders that they stand in."""
    for name in imported_names(path.read_text()):
        package, *inner = name.split(".")
        if package == _PACKAGE.name and inner:
            places = [_PACKAGE.joinpath(*inner[:depth]) for depth in range(1, len(inner) + 1)]
            candidates = [place / "__init__.py" for place in places] + [places[-1].with_suffix(".py")]
            yield from (candidate for candidate in candidates if candidate.is_file())


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that results depend on."""
    import lora_perf

    found = {"python": platform.python_version(), "lora_perf": lora_perf.__version__}
    for name in _LIBRARIES:
        found[name] = _version(name)
    found["code"] = code_version()
    return found


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def device_kind(device: torch.device) -> str:
    """What rounds alike: every CPU counts as one (`code_version` knows its libraries), each model of GPU as itself."""
    return f"cuda {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


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
