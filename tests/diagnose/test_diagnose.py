"""What reading costs in every way: the values that each way comes to, what is counted, the page, bad input."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.diagnose import survey
from lora_perf.diagnose.__main__ import main
from lora_perf.diagnose.page import lead
from lora_perf.diagnose.subject import cached_share, subject_of
from lora_perf.diagnose.timing import counted
from lora_perf.diagnose.ways import COLUMN_TENSOR, Way, column_tensor, ways_of
from tests.io.adapters import zoo_folder
from tests.io.tables.forms import DOWN, UP, adapters


def saved(folder: Path) -> Any:
    datasets.Dataset(adapters(12)).save_to_disk(folder / "saved", num_shards=2)
    return folder / "saved"


def parted(folder: Path) -> Any:
    datasets.DatasetDict({"train": datasets.Dataset(adapters(12)), "test": datasets.Dataset(adapters(3))}).save_to_disk(
        folder / "d"
    )
    return folder / "d"


def array2d(folder: Path) -> Any:
    table = adapters(12)
    columns = {name: np.array(table.column(name).to_pylist(), np.float32) for name in table.column_names if "lora" in name}
    features = datasets.Features({name: datasets.Array2D(one.shape[1:], "float32") for name, one in columns.items()})
    return datasets.Dataset.from_dict({name: list(one) for name, one in columns.items()}, features=features)


def parquet(folder: Path) -> Any:
    (folder / "p").mkdir()
    pq.write_table(adapters(12), folder / "p" / "a.parquet", row_group_size=5)
    return folder / "p"


def arrow(folder: Path) -> Any:
    pyarrow.feather.write_feather(adapters(12), str(folder / "a.feather"), compression="uncompressed")
    return folder / "a.feather"


def files(folder: Path) -> Any:
    zoo_folder(folder / "files", count=12)
    return folder / "files"


def packed(folder: Path) -> Any:
    return lora_perf.pack(datasets.Dataset(adapters(12)), folder / "zoo.safetensors", label_column=None)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "a saved data set": saved,
    "a saved dict": parted,
    "a shuffled data set": lambda _: datasets.Dataset(adapters(12)).shuffle(seed=1),
    "Array2D": array2d,
    "parquet": parquet,
    "feather": arrow,
    "adapter files": files,
    "a packed file": packed,
    "a zoo": lambda folder: lora_perf.load(packed(folder)),
    "an embedded zoo": lambda _: "digits",
}
OF_DATASETS = ("a saved data set", "a saved dict", "a shuffled data set", "Array2D")


@pytest.mark.parametrize("name", SOURCES)
def test_every_way_comes_to_the_values_of_the_data_set(name: str, tmp_path: Path) -> None:
    found = lora_perf.diagnose.run(SOURCES[name](tmp_path), budget=0.5)
    assert [one.error for one in found.readings] == [""] * len(found.readings)
    assert all(one.equal for one in found.readings)
    assert all(one.whole > 0 and one.gb_per_s > 0 and one.seconds for one in found.readings)
    assert sum(one.ours for one in found.readings) == 2
    assert len(found.readings) == {"a packed file": 3, "an embedded zoo": 3, "a zoo": 2, "adapter files": 5}.get(
        name, 11 if name in OF_DATASETS else 4
    )
    assert found.storage[0][0] == "storage"
    assert found.adapters == (1000 if name == "an embedded zoo" else 12)


@pytest.mark.parametrize("name", [*OF_DATASETS, "parquet", "feather"])
def test_a_way_that_comes_to_other_values_is_said(name: str, tmp_path: Path) -> None:
    subject = subject_of(SOURCES[name](tmp_path))
    for way in ways_of(subject):
        found = way.call(4, subject.columns)
        assert survey._equal(subject, way, found, 4, subject.columns)
        found[0] = found[0] + 1
        assert not survey._equal(subject, way, found, 4, subject.columns)


def test_a_way_that_fails_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no such thing\nat all")

    monkeypatch.setattr(survey, "ways_of", lambda subject: [Way("a", "a()", "why", fail), *ways_of(subject)])
    found = lora_perf.diagnose.run(saved(tmp_path), budget=0.5)
    assert found.readings[-1].error == "ValueError: no such thing"
    assert "fails" in str(found.table().rows[-1])
    assert "no such thing" in found.to_html()


def test_the_lines_to_write_instead_do_what_they_say(tmp_path: Path) -> None:
    data = datasets.load_from_disk(saved(tmp_path))
    place: dict[str, Any] = {}
    exec("import numpy as np, pyarrow as pa, torch\n" + COLUMN_TENSOR, place)
    for some in (data, data.shuffle(seed=3), data.select(range(3, 9)), array2d(tmp_path)):
        name = next(one for one in some.column_names if "lora" in one)
        expected = torch.tensor(np.array(some[name][:], np.float32))
        assert torch.equal(place["column_tensor"](some, name), expected)
        assert torch.equal(column_tensor(some, name), expected)


def test_the_whole_advice_runs(tmp_path: Path) -> None:
    found = lora_perf.diagnose.run(saved(tmp_path), budget=0.3)
    lines = found.advice.replace("(NAME)", f"({DOWN!r})")
    place: dict[str, Any] = {}
    exec(lines, place)
    assert place["rows"].shape == (12, 14)
    assert place["layer"].shape == (12, 2, 3)


def test_what_is_counted_grows_with_the_objects_that_are_made() -> None:
    """Counts, not clocks: of formatters on nested lists thousands of calls an adapter, of buffers a few."""
    columns = {DOWN: [[[0.5] * 50] * 4] * 8, UP: [[[0.5] * 4] * 90] * 8}
    found = lora_perf.diagnose.run(datasets.Dataset(pa.table(columns)), label_column=None, budget=0.5).readings
    calls = {one.name: one.calls for one in found}
    assert calls['ds.with_format("torch")[column]'] > 4 * calls["Arrow's buffers by hand"]
    objects = {one.name: one.object_bytes or 0 for one in found}
    assert objects["torch.tensor(ds[column][:])"] > 16
    assert objects["lora_perf: zoo.rows"] < 8


def test_calls_and_objects_are_those_of_the_call() -> None:
    kept: list[Any] = []

    def call(rows: int) -> list[float]:
        kept.append(rows)
        return [math.sqrt(i) for i in range(1000 * rows)]

    calls, objects = counted(call, 1000, 2, 60)
    assert 1000 <= calls <= 1010
    assert objects is not None
    assert 30 <= objects <= 45  # a float of 24 bytes and its place of 8


def test_the_peak_of_memory_is_that_of_the_block() -> None:
    """In a process of its own, whose memory nothing else gives back meanwhile."""
    code = "import numpy as np\nfrom lora_perf.diagnose.timing import peak_memory\n"
    code += "with peak_memory() as grown:\n    held = np.ones(8_000_000)\n    del held\nprint(*grown)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if not done.stdout.strip():
        pytest.skip("the system does not tell the peak of resident memory")
    assert 50e6 < float(done.stdout) < 120e6


def test_pages_in_memory_are_a_share(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100_000)
    share = cached_share([path, tmp_path / "none"])
    assert share is None or 0 <= share <= 1
    assert cached_share([]) is None


def test_no_way_takes_longer_than_the_sentence_says(tmp_path: Path) -> None:
    found = lora_perf.diagnose.run(arrow(tmp_path), budget=0.3)
    times = {False: 1.0, True: 2.0}
    same = replace(found, readings=tuple(replace(one, whole=times[one.ours], error="") for one in found.readings))
    assert lead(same) == "Nothing here is slow: all ways take 2.0 s or less for all of it."


def test_the_page_needs_no_network_and_names_mean_nothing_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "<b>&x"
    folder.mkdir()
    page = lora_perf.diagnose.run(saved(folder).rename(tmp_path / "<i>loras"), budget=0.3).to_html()
    assert not re.search(r"(src|href)=|https?://|@import|<script", page)
    assert "<i>loras" not in page
    assert "&lt;i&gt;loras" in page
    assert page.count("<tr>") >= 11


def test_the_command_prints_tables_and_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(saved(tmp_path)), "--budget", "0.5", "--output-dir", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "lora_perf: zoo.rows" in said
    assert "zoo = lora_perf.load(" in said
    found = json.loads((tmp_path / "out" / "diagnose.json").read_text())
    assert {one["name"] for one in found["readings"]} >= {"for row in ds", "ds.to_pandas()"}
    assert (tmp_path / "out" / "diagnose.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere/there"], "expected"),
        (["digits", "--budget", "0"], "--budget of 0.1 to 3,600 seconds"),
        (["digits", "--threads", "0"], "threads"),
        ([], "Required options"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said


def test_other_objects_are_refused() -> None:
    with pytest.raises(LoraPerfError, match="to diagnose; found a list"):
        lora_perf.diagnose.run([1, 2])


def test_a_diagnosis_is_a_frame_and_a_line_a_way(tmp_path: Path) -> None:
    found = lora_perf.diagnose.run(saved(tmp_path), budget=0.3)
    assert len(found.to_frame()) == 11
    assert repr(found).count("x a copy") == 11
