"""Blocks of a streamed pass: one thread a block on a CPU, whose cores share the pass, and pinned copies to a GPU.

Blocks go to Python threads whose kernels run on one core each. Kernels that share the cores among them wait for each
other at every call, and where another process is busy that makes them 10 to 40 times slower; whole blocks never wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.zoo import Zoo


def for_each_block(
    zoo: Zoo,
    take: Callable[[slice, Tensor], None],
    nbytes: int,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Calls `take` with (slice, tensor (b, p)) for every block of a zoo, on as many threads as torch has.

    Blocks of `nbytes` altogether are in memory at a time. The first error stops the pass and is raised.
    """
    workers = torch.get_num_threads()
    step = min(zoo.block_rows(max(1, nbytes // workers)), -(-len(zoo) // workers))
    if workers == 1:
        for rows, block in zoo.blocks(nbytes):
            take(rows, block)
            if progress is not None:
                progress(rows.stop - rows.start)
        return
    local = threading.local()
    in_memory = zoo.rows if zoo.in_memory else None

    def work(start: int) -> int:
        stop = min(start + step, len(zoo))
        if in_memory is not None:
            block = in_memory[start:stop]
        else:
            if not hasattr(local, "buffer"):
                local.buffer = np.empty((step, zoo.layout.p), np.float32)
            view = local.buffer[: stop - start]
            zoo.source.read(start, stop, view)
            block = torch.from_numpy(view)
        take(slice(start, stop), block)
        return stop - start

    pool = ThreadPoolExecutor(workers, "block", initializer=torch.set_num_threads, initargs=(1,))
    pending: set[Future[int]] = set()
    try:
        for start in range(0, len(zoo), step):
            pending.add(pool.submit(work, start))
            if len(pending) > 2 * workers:
                pending = _collect(pending, progress)
        while pending:
            pending = _collect(pending, progress)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(workers)  # the threads' setting is also torch's default for threads to come


def each_on_a_core(work: Callable[[int], object], count: int) -> None:
    """Calls `work` with 0 ... count - 1, as many at a time as torch has threads, each with one; the first error is raised."""
    workers = torch.get_num_threads()
    with ThreadPoolExecutor(workers, "core", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            list(pool.map(work, range(count)))
        finally:
            torch.set_num_threads(workers)


def _collect(pending: set[Future[int]], progress: Callable[[int], object] | None) -> set[Future[int]]:
    done, rest = wait(pending, return_when=FIRST_COMPLETED)
    for one in done:
        count = one.result()
        if progress is not None:
            progress(count)
    return rest


def cuda_blocks(zoo: Zoo, device: torch.device, nbytes: int) -> Iterator[tuple[slice, Tensor]]:
    """Blocks on a GPU: read into pinned memory, copied once by a stream of their own while the last one is computed."""
    step = zoo.block_rows(nbytes)
    shape = (step, zoo.layout.p)
    pinned = [torch.empty(shape, dtype=torch.float32, pin_memory=True) for _ in range(2)]
    landed = [torch.empty(shape, dtype=torch.float32, device=device) for _ in range(2)]
    copied = [torch.cuda.Event() for _ in range(2)]
    used = [torch.cuda.Event() for _ in range(2)]
    copies = torch.cuda.Stream(device)
    copies.wait_stream(torch.cuda.current_stream(device))  # the buffers may be memory that earlier work still reads
    for turn, start in enumerate(range(0, len(zoo), step)):
        side = turn % 2
        stop = min(start + step, len(zoo))
        copied[side].synchronize()  # the pinned buffer is free again
        zoo.source.read(start, stop, pinned[side][: stop - start].numpy())
        with torch.cuda.stream(copies):
            copies.wait_event(used[side])
            landed[side][: stop - start].copy_(pinned[side][: stop - start], non_blocking=True)
            copied[side].record(copies)
        torch.cuda.current_stream(device).wait_event(copied[side])
        yield slice(start, stop), landed[side][: stop - start]
        used[side].record(torch.cuda.current_stream(device))
