"""What a Python process imports that a workload starts with `subprocess.run([sys.executable, ..., "-c", code])`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Runs around the code. Modules that the interpreter imports before it (site, path hooks) are the machine's, not the code's.
# So are those of the libraries that the package may import: what is left is its own doing.
_PROGRAM = """
import sys
import numpy, safetensors.torch, torch, xxhash
_before, _lines = set(sys.modules), 0
def _line(frame, event, argument):
    global _lines
    _lines += event == "line"
    return _line
sys.settrace(lambda frame, event, argument: _line if frame.f_code.co_filename.startswith({package!r}) else None)
exec({code!r})
sys.settrace(None)
_new = set(sys.modules) - _before
import json
_packages = {{name.partition(".")[0] for name in _new if not name.startswith("__")}} - sys.stdlib_module_names
with open({report!r}, "a") as _file:
    _file.write(json.dumps([len(_new), len(_packages), _lines]) + "\\n")
"""


@contextmanager
def watched(package: str) -> Iterator[dict[str, int]]:
    """Counts, in what it yields, the imports of child processes and the lines of a package that they execute."""
    found = {"child_modules": 0, "child_packages": 0, "child_lines": 0}
    run = subprocess.run
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"

        def run_watched(command: Any, *args: Any, **kwargs: Any) -> Any:
            if command[0] == sys.executable and "-c" in command:
                place = command.index("-c") + 1
                program = _PROGRAM.format(package=package, code=command[place], report=str(report))
                command = [*command[:place], program, *command[place + 1 :]]
            return run(command, *args, **kwargs)

        report.touch()
        subprocess.run = run_watched  # type: ignore[assignment]
        try:
            yield found
        finally:
            subprocess.run = run
        for line in report.read_text().splitlines():
            for name, value in zip(found, json.loads(line), strict=True):
                found[name] += value
