"""Today's `benchmarks` beside yesterday's `lora_perf`: asv measures the package that is installed in its environment.

The root of the repository holds both, so it must not stand on `sys.path`: there its `lora_perf` would be taken for the
installed one, and every commit would seem as fast as the working tree. So `benchmarks` is imported from its own file.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
ROOT = BENCHMARKS.parent


def import_benchmarks() -> None:
    """Makes the package `benchmarks` of this tree importable, and leaves `sys.path` as it is."""
    if "benchmarks" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "benchmarks", BENCHMARKS / "__init__.py", submodule_search_locations=[str(BENCHMARKS)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def installed() -> Path:
    """The folder of the package that is measured: that of asv's environment, wherever asv made one."""
    found = importlib.util.find_spec("lora_perf")
    assert found is not None, "lora_perf is not installed in this environment"
    folder = Path(str(found.origin)).resolve().parent
    if os.environ.get("ASV_ENV_TYPE", "existing") != "existing":
        prefix = Path(sys.prefix).resolve()
        assert folder.is_relative_to(prefix), f"{folder} shadows the lora_perf that asv installed in {prefix}"
    return folder


def differs() -> bool:
    """Whether the package that is measured is another than that of this tree: only then may it lack a workload."""

    def sources(folder: Path) -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}

    return sources(installed()) != sources(ROOT / "lora_perf")


def stages() -> Iterator[str]:
    """The files that fill the table."""
    return (f"benchmarks.stages.{path.stem}" for path in sorted((BENCHMARKS / "stages").glob("[a-z]*.py")))


def fill_table(*, looking: bool | None = None) -> dict[str, str]:
    """Imports all stages; returns why those are missing that the commit under measurement cannot import.

    Args:
        looking: whether the list of benchmarks is what is asked for; if not given, whether asv asks.

    Raises:
        ImportError, AttributeError: where asv looks for the benchmarks, since those of a stage would vanish from its list
            (it then looks with a newer commit), and where the package is that of this tree, since that is a bug.
    """
    import_benchmarks()
    if looking is None:
        looking = sys.argv[1:2] not in (["run"], ["run_server"])  # asv's own program: discover, check, run, ...
    missing = {}
    for stage in stages():
        try:
            import_module(stage)
        except (ImportError, AttributeError) as error:
            if looking or not differs():
                raise
            missing[stage] = f"{type(error).__name__}: {error}"
    return missing
