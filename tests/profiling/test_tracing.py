"""Traces of blocks of code: what stands in the file, in the tables and on the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf.core.profiling import recorder
from lora_perf.profiling import operators, stage, trace
from lora_perf.profiling.operators import Operators

MANY = 60_000_000  # bytes
CLOCK = 5  # microseconds by which two events of one moment may differ, since the profiler reads the clock for each


def events_of(found: lora_perf.profiling.Trace) -> list[dict[str, Any]]:
    assert found.path is not None
    return json.loads(found.path.read_text())["traceEvents"]  # type: ignore[no-any-return]


def test_operators_lie_in_the_ranges_of_their_stages_in_one_file(tmp_path: Path) -> None:
    with trace(tmp_path, "both") as found:
        with stage("products"):
            torch.ones(32, 32) @ torch.ones(32, 32)
        with stage("sums"):
            torch.ones(8).cumsum(0)
    events = events_of(found)
    ranges = {one["name"]: one for one in events if one.get("cat") == "user_annotation"}
    for name, operator in (("products", "aten::mm"), ("sums", "aten::cumsum")):
        (one,) = [event for event in events if event.get("name") == operator]
        whole = ranges[name]
        assert whole["ts"] - CLOCK <= one["ts"]
        assert one["ts"] + one["dur"] <= whole["ts"] + whole["dur"] + CLOCK
        assert ranges["both"]["ts"] <= whole["ts"] + CLOCK
    stages = {one.path: one for one in found.stages}
    assert list(stages) == [("both",), ("both", "products"), ("both", "sums")]
    assert stages["both", "products"].count.nbytes == 2 * 32 * 32 * 4 == found.operators["aten::mm"].nbytes
    assert stages["both",].count.calls == sum(one.calls for one in found.operators.values())
    assert found.recorded == pytest.approx(found.seconds)


def test_operators_and_ranges_of_other_threads_are_seen(tmp_path: Path) -> None:
    def work() -> None:
        with stage("aside"):
            torch.ones(4).cumprod(0)

    with trace(tmp_path) as found, stage("waiting"):
        other = threading.Thread(target=work, name="helper")
        other.start()
        other.join()
    (one,) = [event for event in events_of(found) if event.get("name") == "aten::cumprod"]
    assert one["tid"] != threading.get_native_id()
    assert {one.path: one.count.calls > 0 for one in found.stages}["trace", "waiting"]
    assert [one.path for one in found.ranges if one.thread != found.thread] == [("aside",)]


def test_memory_is_that_of_the_process_with_numpys_in_it(tmp_path: Path) -> None:
    with trace(tmp_path) as found:
        with stage("little"):
            pass
        with stage("much"):
            held = np.ones(MANY // 8)
            while max(one.resident - one.mapped for one in found_so_far()) < MANY:  # until it was looked at
                pass
    assert held.nbytes == MANY
    peaks = {one.path[-1]: one.peak for one in found.stages}
    assert peaks["much"] >= MANY
    drawn = [one["args"] for one in events_of(found) if one.get("name") == "[memory]"]
    assert max(one["Total Allocated"] for one in drawn) >= MANY
    assert sum(one["Bytes"] for one in drawn) == drawn[-1]["Total Allocated"] - drawn[0]["Total Allocated"]


def found_so_far() -> list[Any]:
    from lora_perf.profiling.sampling import held

    return [held(0)]


def test_each_allocation_of_tensors_is_recorded_where_it_is_asked_for(tmp_path: Path) -> None:
    with trace(tmp_path, memory="operators") as found:
        x = torch.ones(MANY // 4)
    assert found.operators["aten::empty"].allocated >= x.nbytes
    sizes = [one["args"]["Bytes"] for one in events_of(found) if one.get("name") == "[memory]"]
    assert x.nbytes in sizes
    assert "allocated" in str(found)


def test_calls_of_python_and_stacks_of_operators_are_recorded_where_they_are_asked_for(tmp_path: Path) -> None:
    def our_function() -> None:
        torch.ones(8, 8) @ torch.ones(8, 8)

    for python, seen in (("calls", True), ("sampled", False)):
        with trace(tmp_path, python=python) as found:  # type: ignore[arg-type]
            our_function()
        events = events_of(found)
        called = [one for one in events if one.get("cat") == "python_function" and "our_function" in one["name"]]
        (product,) = [one for one in events if one.get("name") == "aten::mm"]
        assert bool(called) == ("our_function" in product["args"].get("Call stack", "")) == seen


def test_work_outside_operators_shows_its_whole_time(tmp_path: Path) -> None:
    rows = np.ones((2_000, 2_000))
    with trace(tmp_path) as found, stage("copies"):
        for _ in range(3):
            rows.copy()
    ((_, whole), (_, copies)) = ((one.path, one) for one in found.stages)
    assert whole.seconds >= copies.seconds > 0
    assert 0 < copies.recorded <= whole.recorded + CLOCK / 1e6
    assert copies.inside == 0


def test_windows_are_one_file_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter = Operators.enter

    def entered(self: Operators, path: tuple[str, ...]) -> None:
        self.tick((*path[:-1], "before"), self._since, self._since + 10**12)
        enter(self, path)

    monkeypatch.setattr(Operators, "enter", entered)
    with trace(tmp_path) as found:
        for name in ("first", "second"):
            with stage(name):
                torch.ones(4).cumsum(0)
    sums = [one["ts"] for one in events_of(found) if one.get("name") == "aten::cumsum"]
    assert len(sums) == found.operators["aten::cumsum"].calls == 2
    assert len(found.windows) == 4
    assert sums == sorted(sums)


def test_many_windows_over_many_threads_are_taken_whole(tmp_path: Path) -> None:
    def work() -> None:
        x = torch.ones(8, 8)
        for _ in range(50):
            x = (x @ x).clamp_(0, 1)

    with trace(tmp_path, seconds=0.002) as found:
        for turn in range(20):
            with stage(f"turn {turn}"), ThreadPoolExecutor(3) as pool:
                for one in [pool.submit(work) for _ in range(6)]:
                    one.result()
    names = {one["name"] for one in events_of(found) if one.get("cat") == "cpu_op"}
    assert {"aten::mm", "aten::clamp_"} <= names
    assert len(found.windows) > 1


def test_a_block_that_raises_leaves_its_trace_and_no_recorder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), trace(tmp_path, "broken") as found, stage("inner"):
        _ = 1 / 0
    assert [one.path for one in found.stages] == [("broken",), ("broken", "inner")]
    assert recorder() is None
    assert not operators.busy()
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [".html", ".json"]


def test_the_page_needs_nothing_and_shows_names_as_they_are(tmp_path: Path) -> None:
    with trace(tmp_path) as found, stage("<script>alert(1)</script>"):
        torch.ones(4).add(1)
    assert found.page is not None
    text = found.page.read_text()
    assert not re.search(r"<script|\bsrc=|href=|url\(|@import|https?://", text)
    assert "&lt;script&gt;" in text
    for title in ("When: stages", "Memory over time", "Time by stage", "Time by operator", "Lines of Python"):
        assert title in text
    assert "aten::add" in text
    assert "<table>" in found._repr_html_()


def test_lines_of_a_stage_come_by_what_they_cost() -> None:
    from lora_perf.profiling.found import lines_of
    from lora_perf.profiling.sampling import Line

    cheap, dear = Line(__file__, 1, "f"), Line(__file__, 3, "g")
    counter = Counter(
        {(("all", "a"), cheap): 5, (("all", "b"), dear): 4, (("all", "c"), dear): 3, (("all",), Line("x", 1, "h")): 1}
    )
    found = lines_of(counter)
    assert [(one.line, one.seconds, one.stage) for one in found[:2]] == [(dear, 7e-9, "b"), (cheap, 5e-9, "a")]
    assert found[1].text.startswith('"""Traces of blocks of code')
    many = Counter({(("all",), Line("x", number, "f")): number for number in range(1, 30)})
    assert [one.line.number for one in lines_of(many)] == list(range(29, 19, -1))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": "a/b"}, "a name of letters, digits, - and _; found 'a/b'"),
        ({"name": ""}, "a name of letters"),
        ({"seconds": 0}, "seconds above 0; found 0"),
        ({"seconds": float("nan")}, "seconds above 0; found nan"),
        ({"seconds": "1"}, "seconds above 0; found '1'"),
        ({"memory": "all"}, "memory of process or operators; found 'all'"),
        ({"python": "all"}, "python of sampled or calls; found 'all'"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(lora_perf.LoraPerfError, match=told), trace(tmp_path / "new", **settings):
        pass
    assert not (tmp_path / "new").exists()


def test_one_trace_at_a_time_and_a_folder_that_can_be_written(tmp_path: Path) -> None:
    with trace(tmp_path), pytest.raises(lora_perf.LoraPerfError, match="one trace at a time; found a trace"), trace(tmp_path):
        pass
    all_threads = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    with (
        torch.profiler.profile(experimental_config=all_threads),
        pytest.raises(lora_perf.LoraPerfError, match="a profiler of PyTorch"),
        trace(tmp_path),
    ):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(lora_perf.LoraPerfError, match="a folder that can be written"), trace(tmp_path / "file"):
        pass


def test_a_profiler_that_the_traced_code_starts_works_and_ends_the_operators_of_the_trace(tmp_path: Path) -> None:
    with trace(tmp_path) as found:
        torch.ones(3).cumsum(0)
        with torch.profiler.profile() as theirs:
            torch.ones(3).cumprod(0)
        torch.ones(3).cummax(0)
    assert {"aten::cumsum", "aten::cumprod", "aten::cummax"} & {*found.operators} == {"aten::cumsum"}
    assert "aten::cumprod" in [one.key for one in theirs.key_averages()]
    assert "the traced code started a profiler" in str(found)
    with trace(tmp_path) as again:
        torch.ones(3).cummax(0)
    assert "aten::cummax" in again.operators


def test_a_program_of_a_user_says_nothing_more_than_before(tmp_path: Path) -> None:
    code = "import torch, lora_perf\nwith lora_perf.profiling.trace('.') as found:\n    torch.ones(3).add(1)\nprint(found.path)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert Path(tmp_path, done.stdout.strip()).exists()
