"""The asv suite: its configuration, its classes, and which package it measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("asv")

from asv.util import load_json

from benchmarks.suite import today
from benchmarks.suite import workloads as suite
from benchmarks.table import Case, Workload
from benchmarks.workloads import TABLE

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """What stands in asv.conf.json."""
    return dict(load_json(str(ROOT / "asv.conf.json"), js_comments=True))


@pytest.fixture
def older_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package under measurement is another than that of this tree."""
    monkeypatch.setattr(today, "differs", lambda: True)


def made(prepare: Callable[[str], Case]) -> Workload:
    return Workload("made", "loading", ("small",), prepare)


def wrong() -> Case:
    def check(_: Any) -> None:
        raise AssertionError("a wrong result")

    return Case(lambda: None, check, 1)


def fail_with(error: Exception) -> Callable[[str], Case]:
    def prepare(_: str) -> Case:
        raise error

    return prepare


# The configuration


def test_asv_takes_the_pins_every_dependency_one_thread_and_no_network(config: dict[str, Any]) -> None:
    lines = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {name: [version] for name, version in lines if not name.startswith("#")}
    required = config["matrix"]["req"]
    assert required == {name: pins[name] for name in required}
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {one.split(">=")[0] for one in needed} <= set(required), "asv would resolve another torch"
    assert all("--no-deps" in command for command in (*config["build_command"], *config["install_command"]))
    environment = config["matrix"]["env_nobuild"]
    assert all(environment[name] == ["1"] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "HF_HUB_OFFLINE"))


def test_a_run_of_asv_writes_nothing_that_git_tracks(config: dict[str, Any]) -> None:
    assert {config[folder].split("/")[0] for folder in ("env_dir", "results_dir", "html_dir")} == {".asv"}
    assert ".asv/" in (ROOT / ".gitignore").read_text().splitlines()


# The classes


def test_the_suite_imports_the_stages_of_the_table() -> None:
    assert today.fill_table() == {}
    assert {workload.prepare.__module__ for workload in TABLE.values()} == set(today.stages())


def test_asv_finds_the_whole_table_and_nothing_else(tmp_path: Path) -> None:
    from asv import benchmark

    found = tmp_path / "found.json"
    environment = {**os.environ, "ASV_PYTHONPATH": str(today.installed().parent)}  # asv drops PYTHONPATH
    command = [sys.executable, benchmark.__file__, "discover", str(today.BENCHMARKS / "suite"), str(found)]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    described = json.loads(found.read_text())
    names = {one["name"] for one in described}
    each = ("time_call", "peakmem_call", "track_calls_per_layer", "track_copied_over_bytes")
    expected = {f"workloads.{name}.{method}" for name in TABLE for method in each}
    expected |= {f"workloads.{name}.track_time_over_baseline" for name in TABLE if TABLE[name].baselines}
    assert names == expected
    for one in described:
        workload = TABLE[one["name"].split(".")[1]]
        assert one["pretty_name"].startswith(f"{workload.name}: ")
        assert one["code"].startswith(f"# {workload.name}: {workload.about}\n"), one["code"]
        assert "def setup" not in one["code"]
        assert all(value.strip("'") == value for values in one["params"] for value in values)


def test_an_edited_workload_gives_all_its_benchmarks_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def versions() -> dict[str, str]:
        members = vars(suite.suite_class(TABLE["load_nested"]))
        return {key: member.version for key, member in members.items() if hasattr(member, "version")}

    before = versions()
    monkeypatch.setattr(Workload, "version", "edited")
    after = versions()
    assert set(before) == set(after)
    assert all(before[key] != after[key] for key in before)


def test_an_edited_method_or_file_gives_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(suite, "BENCHMARKS", tmp_path)
    versions = {suite.version(TABLE["load_nested"], [made]), suite.version(TABLE["load_nested"], [wrong])}
    for text in ("one", "two"):
        (tmp_path / "counters.py").write_text(text)
        versions.add(suite.version(TABLE["load_nested"], [made], ["*.py"]))
    assert len(versions) == 4
    with pytest.raises(AssertionError, match="no file of benchmarks"):
        suite.version(TABLE["load_nested"], [], ["missing.py"])


# What runs


@pytest.mark.usefixtures("older_package")
@pytest.mark.parametrize("error", [ImportError("no module"), AttributeError("no name"), TypeError("no argument")])
def test_a_workload_that_an_older_commit_lacks_is_not_available(error: Exception) -> None:
    methods = vars(suite.suite_class(made(fail_with(error))))
    for name in ("time_call", "peakmem_call", "track_copied_over_bytes"):
        with pytest.raises(NotImplementedError, match=str(error)):
            methods[name].setup("small")


def test_what_this_trees_package_lacks_is_an_error() -> None:
    assert not today.differs()
    methods = vars(suite.suite_class(made(fail_with(AttributeError("a bug")))))
    with pytest.raises(AttributeError, match="a bug"):
        methods["time_call"].setup("small")


@pytest.mark.usefixtures("older_package")
def test_a_wrong_result_is_never_timed() -> None:
    methods = vars(suite.suite_class(made(lambda _: wrong())))
    for name in ("time_call", "track_calls_per_layer", "track_copied_over_bytes"):
        with pytest.raises(AssertionError, match="a wrong result"):
            methods[name].setup("small")
    methods["peakmem_call"].setup("small")
    methods["peakmem_call"](None, "small")
    with pytest.raises(AssertionError, match="a wrong result"):
        methods["peakmem_call"].teardown("small")


def test_each_timed_call_stands_after_its_preparation() -> None:
    seen: list[str] = []
    case = Case(lambda: seen.append("call"), lambda _: None, 1, before=lambda: seen.append("before"))
    method = vars(suite.suite_class(made(lambda _: case)))["time_call"]
    for _ in range(2):
        method.setup("small")
        method(None, "small")
    assert seen == ["before", "call"] * 3  # the first pair is the check


def test_time_over_a_slow_path_takes_its_share_into_account(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.table import Baseline, accept

    monkeypatch.setattr(suite.measure, "in_turn", lambda calls, **_: {"fast": [1.0], "slow": [2.0]})
    case = Case(lambda: None, accept, 1, {"loop": Baseline(lambda: None, accept, share=0.25)})
    workload = replace(made(lambda _: case), baselines=("loop",))
    assert vars(suite.suite_class(workload))["track_time_over_baseline"](None, "small", "loop") == 1 / 8


@pytest.mark.usefixtures("older_package")
def test_the_workloads_of_a_file_that_a_commit_cannot_import_are_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> ModuleType:
        if name == "benchmarks.stages.training":
            raise ImportError("no classifier")
        return sys.modules[name]

    monkeypatch.setattr(today, "import_module", import_module)
    with pytest.raises(ImportError, match="no classifier"):
        today.fill_table()  # where asv looks for benchmarks, they must not vanish
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "run"])
    monkeypatch.setattr(suite, "MISSING", today.fill_table())
    for other in ("setup_cache", "teardown", "_private"):  # asv asks modules for these
        with pytest.raises(AttributeError, match=other):
            suite.__getattr__(other)
    stand_in = suite.__getattr__("train_one_run")
    for method in ("time_call", "peakmem_call", "track_time_over_baseline"):
        with pytest.raises(NotImplementedError, match="no classifier"):
            vars(stand_in)[method].setup("small")


# Which package


def test_the_suite_measures_the_installed_package_and_not_the_one_beside_it(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "lora_perf").mkdir(parents=True)
    (site / "lora_perf" / "__init__.py").write_text("")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import today; today.import_benchmarks();"
        "import lora_perf, benchmarks.table; print(today.installed(), today.differs(), lora_perf.__file__)"
    )
    suite_folder = today.BENCHMARKS / "suite"
    environment = {**os.environ, "PYTHONPATH": str(suite_folder)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(site)], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    installed, differs, file = done.stdout.split()
    assert Path(installed) == site / "lora_perf"
    assert (differs, file) == ("True", str(site / "lora_perf" / "__init__.py"))


def test_a_package_that_shadows_that_of_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASV_ENV_TYPE", "virtualenv")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(AssertionError, match="shadows the lora_perf that asv installed"):
        today.installed()
