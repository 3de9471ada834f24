"""The trace as one file of Chrome's format, which Perfetto and TensorBoard's PyTorch plugin open."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, BinaryIO

from lora_perf.profiling.ranges import Range
from lora_perf.profiling.sampling import Held, Sampler
from lora_perf.profiling.tally import Tally

_STAGES, _SAMPLED = "stages of", "Python, sampled, of"
_LEAST = 65_536  # bytes: smaller changes of a process's memory are no event of their own


def write(
    file: BinaryIO,
    parts: Iterable[FilePath],
    ranges: Sequence[Range],
    sampler: Sampler,
    threads: Mapping[int, str],
    tally: Tally,
    *,
    allocations: bool,
) -> None:
    """Writes the windows of the profiler with stages, memory and names of threads beside them, and adds the windows up.

    Args:
        parts: files of the profiler, of which one is in memory at a time.
        sampler: what was seen of stacks and memory.
        threads: names by the numbers of the system.
        allocations: whether the profiler's own events of memory stand in the parts; else the process's memory takes
            their place.
    """
    head: dict[str, Any] = {}
    base: int | None = None
    file.write(b'{\n"traceEvents": [')
    separator = b"\n"
    seen: set[str] = set()
    for part in parts:
        read = json.loads(part.read_bytes().decode(errors="replace"))
        events = read.pop("traceEvents")
        its = int(read.get("baseTimeNanoseconds", 0))
        if base is None:
            head, base = read, its
        tally.add(events, its)
        shift = (its - base) / 1e3
        for one in events:
            if one.get("ph") == "M":
                if (text := json.dumps(one)) in seen:
                    continue
                seen.add(text)
            elif shift:
                one["ts"] += shift
            file.write(separator + json.dumps(one).encode())
            separator = b",\n"
    for one in _ours(ranges, sampler, threads, base or 0, allocations=allocations):
        file.write(separator + json.dumps(one).encode())
        separator = b",\n"
    head |= {"baseTimeNanoseconds": base or 0, "schemaVersion": head.get("schemaVersion", 1)}
    head.pop("traceName", None)
    rest = json.dumps(head)[1:]
    file.write(f"\n],\n{rest}\n".encode())


def _ours(
    ranges: Sequence[Range],
    sampler: Sampler,
    threads: Mapping[int, str],
    base: int,
    *,
    allocations: bool,
) -> Iterator[dict[str, Any]]:
    process = os.getpid()
    for thread, name in threads.items():
        yield {"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "ts": 0, "args": {"name": name}}
    tracks = {f"{_STAGES} {threads.get(one.thread, one.thread)}" for one in ranges}
    for track in sorted(tracks):
        yield {"ph": "M", "name": "thread_name", "pid": process, "tid": track, "ts": 0, "args": {"name": track}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": process, "tid": track, "ts": 0, "args": {"sort_index": -1}}

    def span(name: str, track: str, begin: int, end: int, **told: Any) -> dict[str, Any]:
        times = {"ts": (begin - base) / 1e3, "dur": (end - begin) / 1e3}
        return {"ph": "X", "cat": "user_annotation", "name": name, "pid": process, "tid": track, **times, "args": told}

    for one in sorted(ranges, key=lambda one: (one.begin, -one.end)):
        track = f"{_STAGES} {threads.get(one.thread, one.thread)}"
        yield span(one.path[-1], track, one.begin, one.end, path=" / ".join(one.path))
    yield from _calls(sampler, process, base)
    yield from _memory(sampler.held, process, base, allocations=allocations)


def _calls(sampler: Sampler, process: int, base: int) -> Iterator[dict[str, Any]]:
    """The stacks that were seen, a track for each thread."""
    for thread in dict.fromkeys(one.thread for one in sampler.calls):
        track = _python(thread, sampler)
        yield {"ph": "M", "name": "thread_name", "pid": process, "tid": track, "ts": 0, "args": {"name": track}}
    for one in sorted(sampler.calls, key=lambda one: (one.begin, -one.end)):
        code, times = one.code, {"ts": (one.begin - base) / 1e3, "dur": (one.end - one.begin) / 1e3}
        about = {"file": code.co_filename, "line": code.co_firstlineno}
        place = {"pid": process, "tid": _python(one.thread, sampler), **times, "args": about}
        yield {"ph": "X", "cat": "sampled", "name": code.co_qualname, **place}


def _python(thread: int, sampler: Sampler) -> str:
    return f"{_SAMPLED} {sampler.threads.get(thread, thread)}"


def _memory(held: Sequence[Held], process: int, base: int, *, allocations: bool) -> Iterator[dict[str, Any]]:
    """Counters that Perfetto draws and, unless the profiler has told of each allocation, events that TensorBoard draws."""
    last: int | None = None
    for turn, one in enumerate(held):
        moment = (one.moment - base) / 1e3
        own = one.resident - one.mapped
        told = {"own": own, "mapped files": one.mapped, **({"tensors on the GPU": one.device} if one.device else {})}
        yield {"ph": "C", "name": "memory", "pid": process, "ts": moment, "args": told}
        if not allocations and (last is None or abs(own - last) >= _LEAST):
            gained = 0 if last is None else own - last  # what was there before is nobody's allocation
            about = {"Total Reserved": one.resident, "Total Allocated": own, "Bytes": gained, "Addr": turn + 1}
            place = {"pid": process, "tid": process, "ts": moment, "args": about | {"Device Type": 0, "Device Id": -1}}
            yield {"ph": "i", "s": "t", "cat": "cpu_instant_event", "name": "[memory]", **place}
            last = own
