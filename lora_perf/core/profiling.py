"""Where the time goes: named stages of the work, seconds of each, and whoever wants to hear of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch


class Recorder(Protocol):
    """Hears of stages as they begin and end, in whatever thread they do."""

    def begin(self, name: str) -> None: ...

    def end(self) -> None: ...


_recorder: Recorder | None = None


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Stages are told to a recorder until the end of the block."""
    global _recorder
    before, _recorder = _recorder, recorder
    try:
        yield
    finally:
        _recorder = before


def recorder() -> Recorder | None:
    """Whoever hears of stages now."""
    return _recorder


@contextmanager
def stage(name: str) -> Iterator[None]:
    """A named part of the work, which traces show; stages may stand within each other.

    Cost: some hundred nanoseconds where nothing is traced.
    """
    heard = _recorder
    if heard is None:
        yield
        return
    heard.begin(name)
    try:
        yield
    finally:
        heard.end()


class StageClock:
    """Adds up wall time by the name of the stage; work queued on a GPU counts for the stage that queued it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            with stage(name):
                try:
                    yield
                finally:
                    if self._device.type == "cuda":
                        torch.cuda.synchronize(self._device)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
