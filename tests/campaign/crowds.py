"""Four processes at once in one folder: each of them is right or refused with one line, and what is left is of one of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import lora_perf
from lora_perf.experiment.__main__ import main as experiment
from lora_perf.io import store
from tests.campaign.outcomes import Ended, Fault, Outcome
from tests.campaign.places import Place, all_but, compare, copy, is_earlier, snapshot
from tests.campaign.workbench import Bench, arguments_of, without_figures

_CROWD = 4
_RESULTS = ("out/results.json", "out/results.csv")
Work = Callable[[], int]


def trial(bench: Bench, place: Place) -> Outcome:
    kinds = (_same, _same, _resumed, _with_a_kill, _different_settings, _shared_cache, _preprocess, _pack)
    kind = kinds[int(place.identity.rpartition("-")[2]) % len(kinds)]
    place.what = kind.__name__.removeprefix("_").replace("_", " ")
    return kind(bench, place)


def _together(place: Place, works: list[Work], kill_one: bool = False) -> list[Ended]:
    """Starts all at one time, some a little later, and waits for them."""
    begin = time.time() + 0.1
    delays = [begin + place.random.choice((0, 0, place.random.uniform(0, 0.3))) for _ in works]

    def wait_for(moment: float, work: Work) -> Work:
        def run() -> int:
            time.sleep(max(0.0, moment - time.time()))
            return work()

        return run

    running = [
        place.fork(wait_for(moment, work), f"process {i}", prepare=without_figures)
        for i, (moment, work) in enumerate(zip(delays, works, strict=True))
    ]
    if kill_one:
        time.sleep(0.1 + place.random.uniform(0, 0.8))
        if not os.waitid(os.P_PID, running[0].pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            os.kill(running[0].pid, signal.SIGKILL)
    return [one.wait(place.limit) for one in running]


def _check(ended: list[Ended], *, all_fine: bool = False, killed: bool = False) -> int:
    """How many ended well; raises Fault where none did, or one did not end in one line."""
    fine = 0
    for i, one in enumerate(ended):
        if killed and i == 0 and one.status == -signal.SIGKILL:
            continue
        status = one.check(*((0,) if all_fine else (0, 2)), what=f"process {i} of {len(ended)}")
        fine += status == 0
    if not fine:
        raise Fault(
            Outcome.STUCK, "each was refused for the sake of another: " + " | ".join(one.lines[0] for one in ended if one.lines)
        )
    return fine


def _experiment(*further: str, output: str = "out") -> Callable[[Bench], Work]:
    return lambda bench: lambda: experiment(arguments_of(bench.folder / "loras", *further, output=output))


def _outcome(fine: int) -> Outcome:
    return Outcome.SAME if fine == _CROWD else Outcome.REFUSED


def _same(bench: Bench, place: Place) -> Outcome:
    command = bench.commands["experiment"]
    fine = _check(_together(place, [command.work] * _CROWD))
    compare(place.folder, command.reference, "the crowd")
    return _outcome(fine)


def _resumed(bench: Bench, place: Place) -> Outcome:
    """On a state with some of its cells."""
    command = bench.commands["experiment"]
    copy(bench.finished, place.folder)
    for path in sorted((place.folder / "out").rglob("*")):
        if path.is_file() and place.random.random() < 0.5:
            path.unlink()
    fine = _check(_together(place, [command.work] * _CROWD))
    compare(place.folder, command.reference, "the crowd", optional=lambda path: "/cache/" in path)
    return _outcome(fine)


def _with_a_kill(bench: Bench, place: Place) -> Outcome:
    """One of them is killed; the others do not care, and the next run tidies up after it."""
    command = bench.commands["experiment"]
    ended = _together(place, [command.work] * _CROWD, kill_one=True)
    try:
        _check(ended, killed=True)
    except Fault as fault:
        if fault.outcome is not Outcome.STUCK:  # the one that was killed may have held the folder
            raise
    place.run(command.work, "again", prepare=without_figures).check(0, what="the next run")
    compare(place.folder, command.reference, "the next run")
    return Outcome.RESUMED


def _different_settings(bench: Bench, place: Place) -> Outcome:
    """Two seeds, two processes each: results are of one of them as a whole, and each seed goes on afterwards."""
    works = {seed: _experiment("--seed", seed)(bench) for seed in ("42", "7")}
    expected = {}
    for seed, work in works.items():
        alone = place.folder.parent / f"alone {seed}"
        alone.mkdir()
        here, place.folder = place.folder, alone
        place.run(work, f"alone {seed}", prepare=without_figures).check(0, what="the run alone")
        place.folder = here
        expected[seed] = snapshot(alone)
    ended = _together(place, [works[seed] for seed in ("42", "7", "42", "7")])
    fine = _check(ended)
    found = snapshot(place.folder)
    allowed = {path for one in expected.values() for path in one}
    _refuse_others(found, allowed)
    finished = [seed for seed, one in zip(("42", "7", "42", "7"), ended, strict=True) if one.status == 0]
    if not any(all(found.get(name) == expected[seed][name] for name in _RESULTS) for seed in finished):
        raise Fault(
            Outcome.DIFFERENT, f"results.json and results.csv are not those of one of the runs that ended well ({finished})"
        )
    for seed, work in works.items():
        place.run(work, f"again {seed}", prepare=without_figures).check(0, what="the next run")
        own = {name: expected[seed][name] for name in _RESULTS}
        compare(place.folder, own, f"the next run of seed {seed}", ignore=lambda path: path not in _RESULTS)
    _refuse_others(snapshot(place.folder), allowed)
    return _outcome(fine)


def _shared_cache(bench: Bench, place: Place) -> Outcome:
    """One --cache-dir, a folder of results each: all are fine."""
    works = [_experiment("--cache-dir", "cache", output=f"out{i}")(bench) for i in range(_CROWD)]
    fine = _check(_together(place, works), all_fine=True)
    reference = bench.commands["from packed"].reference
    for i in range(_CROWD):
        for name, content in reference.items():
            if name in ("out/results.csv",) or name.startswith("out/cells/"):
                own = name.replace("out/", f"out{i}/", 1)
                compare(place.folder, {own: content}, f"process {i}", ignore=all_but(own))
    allowed = {name.replace("out/", f"out{i}/", 1) for name in reference for i in range(_CROWD)}
    _refuse_others(snapshot(place.folder), allowed)
    return _outcome(fine)


def _preprocess(bench: Bench, place: Place) -> Outcome:
    command = bench.commands["preprocess"]
    fine = _check(_together(place, [command.work] * _CROWD))
    compare(place.folder, command.reference, "the crowd")
    return _outcome(fine)


def _pack(bench: Bench, place: Place) -> Outcome:
    """Two zoos packed to one path, while others read it: what is there is one of them as a whole."""
    source = bench.folder / "loras"
    path = Path("zoo.safetensors")

    def read() -> int:
        for _ in range(50):
            if path.exists():
                store.verify(path)
        return 0

    def pack() -> int:
        lora_perf.pack(source, path)
        return 0

    fine = _check(_together(place, [bench.commands["pack"].work, pack, read, bench.commands["pack"].work]), all_fine=True)
    content = snapshot(place.folder)
    alone = place.folder.parent / "alone.safetensors"
    lora_perf.pack(source, alone)
    right = [snapshot(alone.parent)["alone.safetensors"], bench.commands["pack"].reference["zoo.safetensors"]]
    if content.get("zoo.safetensors") not in right:
        raise Fault(Outcome.DIFFERENT, "the packed file is none of the two zoos")
    _refuse_others(content, {"zoo.safetensors", *bench.commands["pack"].reference})
    return _outcome(fine)


def _refuse_others(found: dict[str, object], allowed: set[str]) -> None:
    left = sorted(path for path in found if path not in allowed and not is_earlier(path))
    if left:
        raise Fault(Outcome.LEFT, f"the crowd left {', '.join(left[:5])}")
