"""One side of a pair: a pytest session that runs benchmarks up to their call, and then calls on command.

This file, `calls.py` and `arrays.py` stand alone, and this one is run as a program, since the package that they belong to may
be what is measured, at a commit that had no such files. Requests come one a line of JSON through a pipe, answers go the same
way; what tests print goes nowhere.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

SLOW_SECONDS = 0.5  # a first call that takes longer needs no second one to tell how long it takes, or to warm up
TRIAL_SECONDS = 0.02

Answer = dict[str, Any]


_beside = importlib.util.spec_from_file_location("lora_perf_pairs_calls", Path(__file__).with_name("calls.py"))
assert _beside is not None
assert _beside.loader is not None
_calls = importlib.util.module_from_spec(_beside)
_beside.loader.exec_module(_calls)


class Packages:
    """Finds some packages where they are to be measured, wherever the paths of imports lead.

    Args:
        folders: name of a package -> the folder that holds it; where it holds none of that name, there is none.
    """

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if path is not None or name not in self._folders:
            return None
        found = PathFinder.find_spec(name, [self._folders[name]], target)
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found

    def come_first(self) -> None:
        """Before every other finder: pytest puts one of its own in the first place."""
        if self._folders:
            sys.meta_path[:] = [self, *(one for one in sys.meta_path if one is not self)]


class Stats(dict[str, Any]):
    """What tests may ask of the benchmark after its call, as pytest-benchmark names it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(min=seconds, max=seconds, mean=seconds, median=seconds, total=seconds, rounds=1, stddev=0.0)
        self.__dict__.update(self)

    @property
    def stats(self) -> Stats:
        return self


class Benchmark:
    """Stands in for the fixture `benchmark`: its first call hands the function over to whoever asks this process.

    Args:
        serve: called with the function to time, what goes before each call, and the seconds of the first one; it returns when
            nothing more is asked.
    """

    def __init__(self, name: str, serve: Callable[[Callable[[], Any], Callable[[], Any] | None, float], None]) -> None:
        self.name = name
        self.fullname = name
        self.group: str | None = None
        self.param = self.params = None
        self.extra_info: dict[str, Any] = {}
        self.enabled, self.disabled = True, False
        self.stats: Stats | None = None
        self._serve = serve
        self.used = False

    def __call__(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return self._measure(lambda: function(*arguments, **named), None)

    def pedantic(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        setup: Callable[..., Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        **_rounds: Any,
    ) -> Any:
        """As pytest-benchmark calls it; how many rounds there are is decided by whoever asks."""
        given: list[Any] = [args, kwargs or {}]
        fresh = [setup is not None]

        def before() -> None:
            if not fresh[0] and teardown is not None:
                teardown(*given[0], **given[1])
            fresh[0] = False
            if setup is not None:
                made = setup()
                if made is not None:
                    given[:] = made

        if setup is None and teardown is None:
            return self._measure(lambda: target(*args, **(kwargs or {})), None)
        fresh[0] = True
        result = self._measure(lambda: target(*given[0], **given[1]), before)
        if teardown is not None:
            teardown(*given[0], **given[1])
        return result

    def weave(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("benchmark.weave is not measured in pairs; call benchmark(function)")

    patch = weave

    def _measure(self, call: Callable[[], Any], before: Callable[[], Any] | None) -> Any:
        if self.used:
            raise RuntimeError("the benchmark fixture was called twice in a test")
        self.used = True
        if before is not None:
            before()
        begin = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - begin
        self.stats = Stats(seconds)
        self._serve(call, before, seconds)
        return result


def is_benchmark(item: Any) -> bool:
    """Whether a test asks for the fixture."""
    return "benchmark" in getattr(item, "fixturenames", ())


def name_of(item: Any, root: Path) -> str:
    """What a test is called on both sides: its file in the tree, whatever pytest takes for its root, and its place in there."""
    return f"{item.path.resolve().relative_to(root).as_posix()}::{item.nodeid.partition('::')[2]}"


class Session:
    """The plugin of a worker's pytest: lists what it collected, and runs single tests as it is asked."""

    def __init__(self, requests: Iterator[str], answer: Callable[[Answer], None], root: Path) -> None:
        self._requests, self._answer, self._root = requests, answer, root
        self._items: dict[str, Any] = {}
        self._seconds = 0.0
        self._failure = ""
        self._ready = self._rehearsed = self._rehearsing = False
        self._errors: list[str] = []

    def next(self) -> Answer | None:
        """The next request; None where nobody asks any more."""
        for line in self._requests:
            if line.strip():
                found: Answer = json.loads(line)
                return found
        return None

    def take_over(self, config: Any) -> None:
        """Puts the fixture in the place of pytest-benchmark's, whose options stay and whose checks would refuse it."""
        for name in ("benchmark", "pytest_benchmark.plugin"):
            if (own := config.pluginmanager.get_plugin(name)) is not None:
                config.pluginmanager.unregister(own)
        config.pluginmanager.register(_fixture(self.serve), "lora_perf_pairs_fixture")

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            said = str(getattr(report.longrepr, "reprcrash", None) or report.longrepr).strip().splitlines()
            self._errors.append(f"{report.nodeid}: {said[-1] if said else 'failed'}")

    def pytest_collection_finish(self, session: Any) -> None:
        self._items = {name_of(item, self._root): item for item in session.items if is_benchmark(item)}

    def pytest_runtestloop(self, session: Any) -> bool:
        self._answer({"tests": list(self._items), "errors": self._errors})
        while (request := self.next()) is not None:
            if request["do"] == "prepare":
                self._run(session, request["name"], rehearse=request["rehearse"])
            else:
                self._answer({"error": "NothingPrepared", "message": f"{request['do']} before prepare"})
        return True

    def _run(self, session: Any, name: str, *, rehearse: bool) -> None:
        """Runs one test; it answers from within where it calls the benchmark, and here where it does not.

        A rehearsal runs the test to its end first, with one call, so that a wrong result is seen before any time is taken.
        """
        self._ready, self._failure = False, ""
        if name not in self._items:
            self._answer({"state": "absent"})
            return
        item = self._items[name]
        if rehearse:
            self._rehearsing, self._rehearsed = True, False
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            self._rehearsing = False
            if self._failure or not self._rehearsed:
                self._nothing()
                return
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        if self._ready:
            self._answer({"state": "ended", "why": self._failure})
        else:
            self._nothing()

    def _nothing(self) -> None:
        self._answer({"state": "nothing", "why": self._failure or "it does not call benchmark"})

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.skipped and hasattr(report, "wasxfail"):
            self._failure = f"failed, as xfail expects: {report.wasxfail or 'no reason given'}".partition("\n")[0]
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self._failure = f"skipped: {reason}".replace("Skipped: ", "").partition("\n")[0]
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = str(crash.message if crash is not None else report.longrepr).strip().splitlines()
            self._failure = f"failed: {said[0] if said else report.when}"

    def serve(self, call: Callable[[], Any], before: Callable[[], Any] | None, seconds: float) -> None:
        """Answers from within a test, until it is asked to go on."""
        if self._rehearsing:
            self._rehearsed = True
            return
        gc.collect()
        gc.freeze()
        end = time.monotonic() + TRIAL_SECONDS
        while seconds < SLOW_SECONDS and time.monotonic() < end:
            seconds = min(seconds, _calls.timed(call, 1, before)["wall"])
        self._ready = True
        self._answer({"state": "ready", "seconds": seconds})
        while (request := self.next()) is not None:
            if request["do"] == "run":
                self._answer(_calls.timed(call, request["calls"], before))
            elif request["do"] == "count":
                try:
                    self._answer(_calls.counted(call, before))
                except Exception:  # a call that does not bear to be watched has no counts
                    self._answer({})
            elif request["do"] == "finish":
                break
        gc.unfreeze()


def _early(session: Session, packages: Packages) -> object:
    import pytest

    class Early:
        @pytest.hookimpl(tryfirst=True)
        def pytest_load_initial_conftests(self) -> None:
            packages.come_first()

        @pytest.hookimpl(tryfirst=True)
        def pytest_sessionstart(self, session: Any) -> None:
            taken.take_over(session.config)

    taken = session
    return Early()


def _fixture(serve: Callable[[Callable[[], Any], Callable[[], Any] | None, float], None]) -> object:
    import pytest

    class Fixture:
        @pytest.fixture
        def benchmark(self, request: Any) -> Benchmark:
            return Benchmark(request.node.name, serve)

    return Fixture()


def main(arguments: list[str]) -> int:
    """Serves a session over the pipes that the first two arguments number; the third has settings, the rest are pytest's.

    Settings are the `root` of the tree whose tests are run, and the `packages` that `Packages` has to find.
    """
    settings = json.loads(arguments[2])
    packages = Packages(settings["packages"])
    packages.come_first()
    import pytest

    requests, answers = os.fdopen(int(arguments[0])), os.fdopen(int(arguments[1]), "w")

    def answer(found: Answer) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    session = Session(iter(requests.readline, ""), answer, Path(settings["root"]))
    given = [*arguments[3:], "-p", "no:cacheprovider", "-p", "no:lora_perf_pairs", "-p", "no:xdist", "-q"]
    try:
        status = int(pytest.main(given, plugins=[session, _early(session, packages)]))
    except BaseException as error:  # that ends a session: whoever asks is told
        answer({"error": type(error).__name__, "message": str(error), "ended": True})
        raise
    answer({"error": "SessionEnded", "message": f"pytest ended with status {status}", "ended": True})
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
