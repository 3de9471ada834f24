"""What the pages show is true: their programs run, their commands are understood, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import lora_perf

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)(, continued)?\n")
_INLINE = re.compile(r"`((?:lora-perf \w+|python -m lora_perf\.[\w.]+) [^`]+)`")
_LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
# In the process that has run the programs of a page, where the parts that these define have names.
_UNDERSTOOD = """
import sys, tyro
from lora_perf.audit.config import AuditConfig
from lora_perf.command.arguments import parsed
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.inspect.__main__ import InspectConfig
from lora_perf.diagnose.__main__ import DiagnoseConfig, WatchConfig
from lora_perf.io.__main__ import PackConfig
from lora_perf.report.__main__ import CompareConfig
from lora_perf.zoos.digits import Config
from lora_perf.zoos.synthetic import SyntheticConfig

for name, *words in {commands!r}:
    if name.startswith("zoos"):
        kind = Config if name == "zoos.digits" else SyntheticConfig
        tyro.cli(kind, args=words, config=() if kind is Config else (tyro.conf.PositionalRequiredArgs,))
    elif words != ["--help"]:
        kinds = dict(experiment=ExperimentConfig, inspect=InspectConfig, audit=AuditConfig, report=CompareConfig)
        watches = "--script" in words
        kind = (kinds | dict(diagnose=WatchConfig if watches else DiagnoseConfig, io=PackConfig))[name]
        words = words[: words.index("--")] if watches else words
        parsed(kind, words, name, positional=name != "experiment" and kind is not WatchConfig)
"""
_MODULES = {"run": "experiment", "pack": "io"}


def commands(page: Path) -> list[list[str]]:
    """The commands of the package that a page shows, each by its module and what follows."""
    text = page.read_text()
    lines = [line for kind, block in _BLOCK.findall(text) if kind == "bash" for line in block.splitlines()]
    lines += _INLINE.findall(_BLOCK.sub("", text))
    found = []
    for part in "\n".join(lines).replace("&&", "\n").splitlines():
        words = shlex.split(part, comments=True)
        if words[:1] == ["lora-perf"] and len(words) > 1:
            found.append([_MODULES.get(words[1], words[1]), *words[2:]])
        elif words[:2] == ["python", "-m"] and words[2].startswith("lora_perf."):
            found.append([words[2].removeprefix("lora_perf."), *words[3:]])
    return found


def write_programs(page: Path, folder: Path) -> str:
    """Writes the files that a page shows to a folder; returns its other programs, one after the other."""
    programs = []
    for kind, block in _BLOCK.findall(page.read_text()):
        named = _FILE.match(block)
        if kind == "python" and named:
            with open(folder / named[1], "a" if named[2] else "x") as file:
                file.write(block)
        elif kind == "python":
            programs.append(block)
    return "\n".join(programs)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder outside the package, as a user has it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("page", [page for page in PAGES if _BLOCK.search(page.read_text())], ids=lambda page: page.stem)
def test_the_programs_of_a_page_run_and_its_commands_are_understood(page: Path, tmp_path: Path) -> None:
    program = tmp_path / "page_of_programs.py"
    program.write_text(write_programs(page, tmp_path) + _UNDERSTOOD.format(commands=commands(page)))
    done = run(tmp_path, program.name)
    assert done.returncode == 0, done.stderr


def test_the_parts_of_the_readme_run_through_the_experiment(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    write_programs(page, tmp_path)
    own = [words for words in commands(page) if "--import" in words]
    assert own
    for module, *words in own:
        done = run(tmp_path, "-m", f"lora_perf.{module}", *words, "--quick")
        assert done.returncode == 0, done.stderr
        assert "row_lengths" in done.stdout
    assert (tmp_path / "results" / "quick").exists() or (tmp_path / "results" / "results.json").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    missing = [target for target in _LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert not missing


def test_the_table_of_the_readme_is_that_of_the_report_it_names() -> None:
    table = str(lora_perf.Results.load(ROOT / "reports" / "2026-11-27-default").table())
    assert table.strip() in (ROOT / "README.md").read_text()


def test_the_citation_is_of_this_version() -> None:
    cited = dict(re.findall(r"^([\w-]+): (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    assert (cited["cff-version"], cited["version"]) == ("1.2.0", lora_perf.__version__)
