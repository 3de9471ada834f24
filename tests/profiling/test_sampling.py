"""What is seen of threads at one look: whose line, whose stack, and who waits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest

from lora_perf.profiling.ranges import Clock, Ranges
from lora_perf.profiling.sampling import Sampler, line_of

HERE = __file__


@pytest.fixture
def sampler() -> Sampler:
    clock = Clock()
    return Sampler(Ranges(clock, lambda _: None), clock, lambda *_: None)


class Flags:
    """Where two threads are, without a call of a function that a look could find instead."""

    ready = seen = False


def look(sampler: Sampler, moment: int, of: Callable[[Flags], object]) -> None:
    """One look, by a thread of its own, while this one is in `of`, which says when and goes on until it was seen."""
    flags = Flags()

    def work() -> None:
        while not flags.ready:
            pass
        sampler._look(("stage",), 1_000, moment, threading.get_ident())
        flags.seen = True

    other = threading.Thread(target=work)
    other.start()
    of(flags)
    other.join()


def spin(flags: Flags) -> None:
    flags.ready = True
    while not flags.seen:
        pass


def test_a_look_counts_the_line_that_a_thread_is_in(sampler: Sampler) -> None:
    look(sampler, 5_000, spin)
    (found,) = [line for _, line in sampler.lines if line.function == "spin"]
    begin = spin.__code__.co_firstlineno
    assert (found.file, begin < found.number <= begin + 3) == (HERE, True)
    assert sampler.lines[("stage",), found] == 1_000


def test_a_thread_that_waits_for_another_is_in_no_line(sampler: Sampler) -> None:
    waiting = threading.Event()

    def wait() -> None:
        waiting.wait()

    other = threading.Thread(target=wait)
    other.start()
    while not sys._current_frames()[other.ident or 0].f_code.co_filename.endswith("threading.py"):
        pass
    look(sampler, 5_000, spin)
    waiting.set()
    other.join()
    assert [line.function for _, line in sampler.lines if line.file == HERE and "wait" in line.function] == []


def test_calls_in_a_library_count_for_the_line_that_made_them() -> None:
    frames = []

    def key(_: int) -> int:
        frames.append(sys._getframe(1))  # within the library
        return 0

    import statistics

    statistics.multimode(map(key, [1]))
    (frame,) = frames
    found = line_of(frame)
    assert found is not None
    assert (found.file, found.function.rpartition(".")[2]) == (
        HERE,
        "test_calls_in_a_library_count_for_the_line_that_made_them",
    )


def test_a_stack_that_goes_on_is_one_range_and_what_changed_in_it_another(sampler: Sampler) -> None:
    def deeper(flags: Flags) -> None:
        spin(flags)

    look(sampler, 1_000, spin)
    look(sampler, 2_000, spin)
    look(sampler, 3_000, deeper)
    sampler._stand(threading.get_ident(), [], 9_000)
    ours = [one for one in sampler.calls if one.thread == threading.get_ident()]
    found = {(one.code.co_name, one.begin, one.end) for one in ours}
    assert {("spin", 1_000, 3_000), ("deeper", 3_000, 9_000), ("spin", 3_000, 9_000)} <= found
    assert (sys._getframe().f_code.co_name, 1_000, 9_000) in found


def test_threads_that_wait_and_those_of_libraries_are_no_work_and_others_are(sampler: Sampler) -> None:
    assert sampler.quiet()
    flags = Flags()
    other = threading.Thread(target=spin, args=(flags,))
    other.start()
    while not flags.ready:
        pass
    assert not sampler.quiet()
    flags.seen = True
    other.join()
    assert sampler.quiet()
