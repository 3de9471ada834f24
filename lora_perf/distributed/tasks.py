"""Calls that any executor may make: on the workers of a Dask cluster, or in this process."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from lora_perf.core.ambient import with_threads
from lora_perf.core.errors import LoraPerfError, first_line
from lora_perf.core.provenance import code_version
from lora_perf.core.zoo import Zoo

T = TypeVar("T")

_LOCAL = re.compile(r"local(?::(\d+))?")
_ADDRESS = re.compile(r"(?:(?:tcp|tls)://)?[^\s/:]+:\d+")
_SECONDS = 10  # in which a scheduler has to answer
_DEATHS = 3  # of workers, with the same task in hand, after which it is given up


@dataclass(frozen=True)
class Shared:
    """What a task and its caller have to agree on.

    Attributes:
        token: a file that both see, if they share the folder that it stands in; None where they need not.
        code: the version of the code, libraries included.
        threads: that compute: sums of linear algebra may depend on their number.
    """

    token: Path | None
    code: str
    threads: int

    def check(self) -> None:
        """Called by a task before it works.

        Raises:
            LoraPerfError: there is no such file here, or other code.
        """
        if self.token is not None and not self.token.exists():
            raise LoraPerfError(
                expected=f"the folder {self.token.parent} on the machine of each worker",
                found="none there, or another one of that name",
                fix="write (--output-dir, --cache-dir, the target of pack) where all machines can",
            )
        if code_version() != self.code:
            raise LoraPerfError(
                expected="the same lora_perf and libraries at each worker",
                found="others",
                fix="start the workers in the environment that this command runs in",
            )


@contextmanager
def shared(folder: Path | None = None) -> Iterator[Shared]:
    """An agreement for the tasks of a block.

    Args:
        folder: one that all have to see, in which a file stands for as long; None where results are returned only.
    """
    if folder is None:
        yield Shared(None, code_version(), torch.get_num_threads())
        return
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f".shared-{os.getpid()}-{os.urandom(8).hex()}"
    token.touch()
    try:
        yield Shared(token, code_version(), torch.get_num_threads())
    finally:
        with contextlib.suppress(OSError):
            token.unlink()


def refuse_scheduler(scheduler: str | None) -> None:
    """Raises LoraPerfError for what is no scheduler."""
    if scheduler is None:
        return
    local = _LOCAL.fullmatch(scheduler)
    if (local and local[1] != "0" and not (local[1] or "1").startswith("0")) or (not local and _ADDRESS.fullmatch(scheduler)):
        return
    raise LoraPerfError(
        expected="--scheduler local, local:N (N worker processes here) or the HOST:PORT of a Dask scheduler",
        found=repr(scheduler),
        fix="write it like tcp://10.0.0.1:8786",
    )


def outcomes(scheduler: str, work: Callable[..., T], calls: Sequence[tuple[Any, ...]], titles: Sequence[str]) -> Iterator[T]:
    """What `work` returns for each of the calls, in the order in which they end.

    A worker that dies costs its calls only: they are made again on another one. Whoever stops listening ends them all.

    Args:
        work: a function of an importable module; it checks a `Shared` first.
        titles: of the calls, for messages.

    Raises:
        LoraPerfError: what a call raised; a cluster that does not answer, goes away or loses its workers over one call.
    """
    with _executor(scheduler) as (executor, kinds):
        futures = {executor.submit(work, *call): title for call, title in zip(calls, titles, strict=True)}
        for future in as_completed(futures):
            try:
                yield future.result()
            except LoraPerfError:
                raise
            except kinds as error:
                raise _lost(scheduler, futures[future], error) from None


def row_blocks(n: int, each: int) -> list[slice]:
    """Neighbouring rows for a task each, of n."""
    return [slice(start, min(start + each, n)) for start in range(0, n, each)]


def over_rows(
    scheduler: str,
    work: Callable[..., T],
    zoo: Zoo,
    nbytes: int,
    *more: Any,
    folder: Path | None = None,
    progress: Callable[[int], object] | None = None,
) -> Iterator[tuple[slice, T]]:
    """What `work(part, rows, *more)` returns for each part of a zoo, with its rows, as the calls end.

    Workers see the source of the zoo under the same path; of rows in memory each call is sent its own.

    Args:
        nbytes: of the rows of a part.
        folder: one that all have to see, as `shared` takes it.
        progress: called with the number of adapters of each part.
    """
    blocks = row_blocks(len(zoo), max(1, nbytes // (4 * zoo.layout.p)))
    with shared(folder) as agreed:
        calls = [(work, agreed, zoo.select(rows), rows, more) for rows in blocks]
        titles = [f"rows {rows.start:,} to {rows.stop:,}" for rows in blocks]
        for rows, found in outcomes(scheduler, _part, calls, titles):
            yield rows, found
            if progress is not None:
                progress(rows.stop - rows.start)


def _part(work: Callable[..., T], agreed: Shared, part: Zoo, rows: slice, more: tuple[Any, ...]) -> tuple[slice, T]:
    """A task: one part of a zoo, on as many threads as the caller has."""
    agreed.check()
    with with_threads(agreed.threads):
        return rows, work(part, rows, *more)


def _lost(scheduler: str, title: str, error: BaseException) -> LoraPerfError:
    if type(error).__name__ == "KilledWorker":
        return LoraPerfError(
            expected=f"workers at {scheduler} that live on",
            found=f"{_DEATHS} of them that died over {title}",
            fix="look into their logs; most often they have too little memory",
        )
    return LoraPerfError(
        expected=f"a cluster at {scheduler} that stays",
        found=f"one that went away ({first_line(error, type(error).__name__)})",
        fix="start it again; the same command goes on from what is finished",
    )


@contextmanager
def _executor(scheduler: str) -> Iterator[tuple[Executor, tuple[type[BaseException], ...]]]:
    """An executor on a cluster, and what a cluster that fails raises."""
    try:
        import dask
        from distributed import Client, LocalCluster
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise LoraPerfError(
            expected="the package distributed for --scheduler", found="none", fix="pip install 'lora_perf[distributed]'"
        ) from None
    from concurrent.futures import CancelledError

    local = _LOCAL.fullmatch(scheduler)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # who says in one line what went wrong
    settings = {
        "distributed.scheduler.allowed-failures": _DEATHS - 1,
        "distributed.comm.timeouts.connect": f"{_SECONDS}s",
        "distributed.worker.memory.terminate": False,  # mapped files count as memory there
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.target": False,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        try:
            if local:
                kind = {"n_workers": int(local[1] or os.cpu_count() or 1), "threads_per_worker": 1, "processes": True}
                quiet = {"host": "127.0.0.1", "dashboard_address": None, "silence_logs": logging.CRITICAL}
                address = stack.enter_context(LocalCluster(**kind, **quiet))
            else:
                address = scheduler if "://" in scheduler else f"tcp://{scheduler}"
            client = stack.enter_context(Client(address, timeout=_SECONDS, set_as_default=False))
        except RuntimeError as error:  # of processes here
            raise LoraPerfError(
                expected=f"worker processes that start for --scheduler {scheduler}",
                found=first_line(error, type(error).__name__),
                fix="choose fewer of them, or leave it out; what a script of your own does must stand under "
                "if __name__ == '__main__':, for they import it",
            ) from None
        except (OSError, TimeoutError) as error:
            raise LoraPerfError(
                expected=f"a Dask scheduler that answers at {scheduler}",
                found=first_line(error, type(error).__name__),
                fix="start one with `dask scheduler`, and workers with `dask worker HOST:PORT`",
            ) from None
        executor = client.get_executor(pure=False)
        try:
            yield executor, (KilledWorker, CommClosedError, CancelledError, OSError, TimeoutError)
        finally:
            executor.shutdown(wait=False)
