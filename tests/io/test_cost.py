"""What reading costs: no Python object a value, one copy in memory, and a small share of the time of `datasets`."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch

import lora_perf
from lora_perf.core.zoo import Zoo
from lora_perf.zoos.synthetic import SyntheticConfig, write
from tests.io.adapters import factors, save, tensors
from tests.io.tables.forms import DOWN, UP, nested, normal, table_of

ADAPTERS = 500  # of 398.6 kB in the layout of Stable Diffusion 1.5: 199 MB

# Prints the largest anonymous memory during an action, over that before it, and the bytes of the rows.
# Pages of the mapped Arrow files are the page cache's and no copy, so they are left out.
MEASURE = """
import re, sys, threading
import lora_perf

def anonymous():
    with open("/proc/self/status") as status:
        return int(re.search(r"RssAnon:\\s+(\\d+) kB", status.read())[1]) * 1024

zoo = lora_perf.load(sys.argv[1])
before = peak = anonymous()
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
if sys.argv[2] == "rows":
    rows = zoo.rows
else:
    for _ in zoo.blocks():
        pass
peak = max(peak, anonymous())
done.set()
watcher.join()
print(peak - before, zoo.nbytes)
"""


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of nested lists in the layout of Stable Diffusion 1.5."""
    path = tmp_path_factory.mktemp("sd15") / "zoo"
    write(SyntheticConfig(path, adapters=ADAPTERS, storage="nested"))
    return path


def calls_in(action: Callable[[], object]) -> int:
    """The calls of Python and C functions during an action."""
    count = 0

    def see(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def data_of(n: int) -> Any:
    kinds = ("list", "list")
    return datasets.Dataset(table_of({DOWN: nested(normal(n, 2, 3), kinds), UP: nested(normal(n, 4, 2), kinds)}))


def use_rows(zoo: Zoo) -> object:
    return zoo.rows


def use_one_block(zoo: Zoo) -> object:
    return list(zoo.blocks())


# Calls


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Only the calls of the main thread are counted, and waiting for others takes calls that differ from run to run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("use", [use_rows, use_one_block])
@pytest.mark.parametrize(
    "view",
    [lambda data: data, lambda data: data.select(range(3, len(data) - 3)), lambda data: data.shuffle(seed=0)],
    ids=["contiguous", "selected", "shuffled"],
)
def test_the_calls_of_reading_do_not_grow_with_the_rows(view: Callable[[Any], Any], use: Callable[[Zoo], object]) -> None:
    small, large = (lora_perf.load(view(data_of(n))) for n in (40, 4000))
    use(lora_perf.load(view(data_of(4000))))  # imports, and the multiples that offsets are compared with
    assert calls_in(lambda: use(small)) == calls_in(lambda: use(large)) < 300


def test_the_calls_of_opening_do_not_grow_with_the_rows() -> None:
    small, large = data_of(40), data_of(4000)
    lora_perf.load(data_of(20))
    assert calls_in(lambda: lora_perf.load(small)) == calls_in(lambda: lora_perf.load(large))


def test_the_calls_of_reading_parquet_do_not_grow_with_the_rows(tmp_path: Path) -> None:
    for n in (20, 40, 4000):
        pa.parquet.write_table(data_of(n).data.table, tmp_path / f"{n}.parquet", row_group_size=5000)
    use_rows(lora_perf.load(tmp_path / "20.parquet"))
    small, large = (lora_perf.load(tmp_path / f"{n}.parquet") for n in (40, 4000))
    assert calls_in(lambda: use_rows(small)) == calls_in(lambda: use_rows(large)) < 300


# Memory


@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is a number of Linux")
def test_rows_are_the_only_copy_and_a_streamed_pass_holds_little_more_than_a_block(
    sd15: Path, run_python: Callable[..., str]
) -> None:
    peak, nbytes = map(int, run_python(MEASURE, sd15, "rows").split())
    assert nbytes <= peak <= 1.15 * nbytes
    peak, _ = map(int, run_python(MEASURE, sd15, "blocks").split())
    assert (8 << 20) <= peak <= (32 << 20)


def traced(action: Callable[[], object]) -> int:
    """The largest memory of Python and NumPy during an action."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_rows_of_a_shuffled_data_set_are_gathered_in_little_more_than_their_own_memory(sd15: Path) -> None:
    zoo = lora_perf.load(datasets.load_from_disk(str(sd15)).shuffle(seed=1))
    assert zoo.nbytes <= traced(lambda: zoo.rows) <= 1.15 * zoo.nbytes


def test_opening_reads_no_weight(sd15: Path) -> None:
    assert traced(lambda: lora_perf.load(sd15)) <= 16 << 20


# Time


def test_reading_is_far_faster_than_the_formatter_of_datasets(sd15: Path) -> None:
    data = datasets.load_from_disk(str(sd15))
    zoo = lora_perf.load(data)
    _ = zoo.layout
    few = data.select(range(30)).with_format("torch")
    names = [layer.name for layer in zoo.layout][:2]
    _ = few[names[0]][:2]  # imports on first use
    start = time.perf_counter()
    values = [few[name][:] for name in names]
    slow = (time.perf_counter() - start) * (len(zoo) / 30) * (len(zoo.layout) / len(names))
    start = time.perf_counter()
    rows = zoo.rows
    fast = time.perf_counter() - start
    for name, value in zip(names, values, strict=True):
        np.testing.assert_array_equal(rows[:30, zoo.layout[name].columns].numpy(), value.reshape(30, -1).numpy())
    assert slow >= 20 * fast, f"{slow:.2f} s against {fast:.2f} s"


# Folders of adapter files


def folder_of(folder: Path, n: int, modules: int) -> Path:
    shapes = {f"unet.down_blocks.0.attentions.{i}.to_q": (4, 3) for i in range(modules)}
    for i in range(n):
        save(folder / "cat" / f"{i:03d}.safetensors", tensors(factors(i, modules=shapes)))
    return folder


@pytest.mark.parametrize("action", ["load", "read"])
def test_a_further_adapter_file_costs_a_few_calls_however_many_tensors_it_has(action: str, tmp_path: Path) -> None:
    counts = {}
    for modules in (2, 60):
        for n in (10, 60):
            folder = folder_of(tmp_path / f"{modules} {n}", n, modules)
            if action == "load":
                counts[modules, n] = calls_in(lambda folder=folder: lora_perf.load(folder))  # type: ignore[misc]
            else:
                source = lora_perf.load(folder).source
                out = np.empty((n, source.p), np.float32)
                counts[modules, n] = calls_in(lambda source=source, n=n, out=out: source.read(0, n, out))  # type: ignore[misc]
    few, many = ((counts[modules, 60] - counts[modules, 10]) / 50 for modules in (2, 60))
    assert many <= few + 5
    assert many <= (70 if action == "load" else 20)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("action", ["rows", "blocks"])
def test_a_folder_is_read_without_a_second_copy(action: str, run_python: Callable[..., str], tmp_path: Path) -> None:
    write(SyntheticConfig(tmp_path / "zoo", adapters=150, storage="folder"))
    peak, nbytes = map(int, run_python(MEASURE, tmp_path / "zoo", action).split())
    assert nbytes == 150 * 99_648 * 4
    assert peak <= (1.15 * nbytes if action == "rows" else (16 << 20) + 4_000_000)
