"""One thread a block: how a CPU's cores share a streamed pass.

Blocks go to Python threads whose kernels run on one core each. Kernels that share the cores among them wait for each
other at every call, and where another process is busy that makes them 10 to 40 times slower; whole blocks never wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
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


def _collect(pending: set[Future[int]], progress: Callable[[int], object] | None) -> set[Future[int]]:
    done, rest = wait(pending, return_when=FIRST_COMPLETED)
    for one in done:
        count = one.result()
        if progress is not None:
            progress(count)
    return rest
