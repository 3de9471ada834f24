"""The table of workloads: each passes its check, no check can be passed by a wrong result, and versions follow sources."""

from __future__ import annotations

import importlib.util
import mmap
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import lora_perf
from benchmarks import corpora, surface, table
from benchmarks.stages import loading
from benchmarks.workloads import TABLE, Case
from lora_perf.zoos import synthetic
from tests.benchmarks.corruptors import refuses, wrong

CORPUS_SOURCES = (*surface.CORPUS_SOURCES, "benchmarks/float16.py")
NAMES = list(TABLE)
P = 99_648  # parameters of an adapter
SMALL = 64 * P * 4  # bytes
NBYTES = {
    **{name: SMALL for name in NAMES if name.startswith(("load_", "stream_", "pack_", "represent_"))},
    "load_split": 44 * P * 4,
    **dict.fromkeys(("open_packed_warm", "open_packed_cold"), 64 * 8),
    **dict.fromkeys(("split_stratified", "split_original"), 1_000 * 8),
    "standardise": 1_000 * 1_000 * 4,
    "score_metrics": 11 * 2_000 * 8,
    "train_one_run": 5 * 700 * 1_000 * 4,
    "train_stored": 2 * 134 * P * 4,
    **dict.fromkeys(("train_ten_runs", "train_stacked_runs"), 10 * 5 * 700 * 1_000 * 4),
}


@cache
def small(name: str) -> Case:
    return TABLE[name].prepare("small")


@pytest.mark.parametrize("name", NAMES)
def test_a_workload_passes_its_check_and_no_wrong_result_does(name: str) -> None:
    case = small(name)
    result = case.checked()
    ways = 0
    for way, other in wrong(result):
        assert refuses(case.check, other), f"{name} accepts a result with {way}"
        ways += 1
    assert ways
    case.check(result)


@pytest.mark.parametrize("name", NAMES)
def test_a_workload_declares_its_baselines_limit_scales_and_bytes(name: str) -> None:
    case, workload = small(name), TABLE[name]
    assert tuple(case.baselines) == workload.baselines
    assert (case.limit is not None) == workload.has_limit
    assert workload.scales[:1] == ("small",)
    assert set(workload.scales) <= set(corpora.SCALES)
    assert case.nbytes == NBYTES[name] if name in NBYTES else case.nbytes > 100_000
    assert case.adapters in (1, 44, 64, 192, 1_000)
    if workload.baselines:
        assert Path(table.__file__).parent.joinpath("baselines", f"{workload.prepare.__module__.split('.')[-1]}.py").exists()
    if case.limit is not None:
        case.limit()


@pytest.mark.parametrize("storage", ["nested", "array2d", "parquet", "packed"])
def test_all_forms_of_a_corpus_hold_the_rows_that_were_generated(storage: str) -> None:
    made = synthetic.generate(synthetic.SyntheticConfig(Path("unused"), adapters=64))
    found = lora_perf.load(corpora.path(storage, 64))
    assert torch.equal(found.rows, made.rows)
    assert torch.equal(found.labels, made.labels)
    np.testing.assert_array_equal(loading.expected(64), made.rows.numpy())
    assert found.rows.abs().amax(dim=1).min() > 0


def module(path: Path, text: str) -> ModuleType:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_version_changes_with_the_stage_its_slow_paths_and_the_corpora(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(Path(table.__file__).with_name("corpora.py"), tmp_path)
    monkeypatch.setattr(table, "__file__", str(tmp_path / "table.py"))
    prepare = module(tmp_path / "stage_of_test.py", "def some(scale): ...\n").some
    one = table.Workload("one", "loading", ("small",), prepare)
    before = one.version
    assert before == one.version
    assert before != table.Workload("two", "loading", ("small",), prepare).version
    module(tmp_path / "stage_of_test.py", "def some(scale): return 1\n")
    edited = one.version
    assert edited != before
    with (tmp_path / "corpora.py").open("a") as file:
        file.write("\n")
    moved = one.version
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "stage_of_test.py").write_text("def slow(): ...\n")
    assert len({before, edited, moved, one.version}) == 4


def test_two_workloads_of_one_name_are_refused() -> None:
    with pytest.raises(AssertionError, match="two workloads are called load_nested"):
        table.workload("loading", "small", name="load_nested")(small)
    assert list(TABLE) == NAMES


@pytest.mark.parametrize("source", CORPUS_SOURCES)
def test_the_key_of_a_corpus_changes_with_each_source(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [corpora.key("nested", 64)]
    for one in CORPUS_SOURCES:
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(corpora.ROOT / one, tmp_path / one)
    monkeypatch.setattr(corpora, "ROOT", tmp_path)
    assert corpora.key("nested", 64) == keys[0]
    with (tmp_path / source).open("a") as file:
        file.write("\n")
    keys += [corpora.key("nested", 64), corpora.key("array2d", 64), corpora.key("nested", 65)]
    assert len(set(keys)) == 4


def test_a_corpus_is_made_once_and_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORA_PERF_CORPORA", str(tmp_path / "corpora"))
    commands: list[list[str]] = []

    def make(command: list[str], **_: object) -> None:
        commands.append(command)
        Path(command[3]).write_bytes(b"corpus")

    monkeypatch.setattr(subprocess, "run", make)
    first = corpora.path("packed", 64)
    assert corpora.path("packed", 64) == first
    assert len(commands) == 1
    assert list(first.parent.iterdir()) == [first]
    assert first.read_bytes() == b"corpus"
    corpora.clear()
    assert not first.parent.exists()


def test_a_corpus_whose_making_failed_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORA_PERF_CORPORA", str(tmp_path / "corpora"))

    def fail(command: list[str], **_: object) -> None:
        Path(command[3]).write_bytes(b"half of it")
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(subprocess.CalledProcessError):
        corpora.path("packed", 64)
    assert list((tmp_path / "corpora").iterdir()) == []


def in_page_cache(path: Path) -> bool:
    """Whether the first page of a file can be read without waiting for the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(descriptor, [bytearray(mmap.PAGESIZE)], 0, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT") or sys.platform != "linux", reason="asks Linux what is in its page cache")
def test_the_cold_case_is_cold_even_after_its_rows_were_read() -> None:
    probe = corpora.scratch() / "probe"
    probe.write_bytes(bytes(mmap.PAGESIZE))
    corpora.evict(probe)
    try:
        if in_page_cache(probe):
            pytest.skip("this file system keeps its pages")
    except OSError as error:
        pytest.skip(f"this file system does not say: {error}")
    finally:
        probe.unlink()
    case = small("open_packed_cold")
    file = corpora.scratch() / "cold-64.safetensors"
    case.checked()  # reads and maps every row
    assert case.before is not None
    case.before()
    assert not in_page_cache(file)
    case.call()
    assert in_page_cache(file)
