"""Data sets of an imitated Hub as packed files, a shard at a time, by the real client."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lora_perf
from tests.io.hubs import Repository, serving
from tests.io.tables.forms import LABEL, adapters
from tests.limits import run_limited

NAME = "somebody/some-loras"


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=3, **options)
    return file.getvalue()


def shards(tables: Sequence[pa.Table], split: str, folder: str = "data/") -> dict[str, bytes]:
    return {f"{folder}{split}-{i:05d}-of-{len(tables):05d}.parquet": parquet(one) for i, one in enumerate(tables)}


PARTS = [adapters(7), adapters(4), adapters(6)]
FACTORS = [name for name in PARTS[1].column_names if "lora" in name]
CONFIGS = """---
configs:
- config_name: small
  data_files: small/*.parquet
- config_name: large
  data_files: large/*.parquet
---
"""
REPOSITORIES = {
    NAME: Repository(shards(PARTS, "train")),
    "somebody/parted": Repository(shards(PARTS[:2], "train") | shards(PARTS[2:], "test")),
    "somebody/two": Repository(
        {"README.md": CONFIGS.encode()} | shards(PARTS[:1], "train", "small/") | shards(PARTS, "train", "large/")
    ),
    "somebody/gated": Repository(shards(PARTS, "train"), gated=True),
    "somebody/mixed": Repository(
        {"train-00000-of-00002.parquet": parquet(PARTS[0])}
        | {
            "train-00001-of-00002.parquet": parquet(
                PARTS[1].drop_columns([c for c in PARTS[1].column_names if "lora" in c][-1:])
            )
        }
    ),
    "somebody/lines": Repository({"train.jsonl": b'{"a": 1}\n'}),
}


@dataclass
class Served:
    """A Hub, and how to run a program of a stranger against it."""

    address: str
    fetched: list[str]
    breaks: dict[str, int]
    home: Path

    def environment(self, **more: str) -> dict[str, str]:
        clean = {
            name: value for name, value in os.environ.items() if "proxy" not in name.lower() and not name.startswith("HF_")
        }
        return (
            clean
            | {"HF_ENDPOINT": self.address, "HF_HOME": str(self.home), "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
            | more
        )

    def run(self, *arguments: str, module: str = "lora_perf.io", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self.environment(**more), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def arrow_files(self) -> list[Path]:
        return [path for path in self.home.rglob("*") if path.suffix in (".arrow", ".parquet")]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(REPOSITORIES) as (address, fetched, breaks):
        yield Served(address, fetched, breaks, tmp_path / "home")


def of_tables(tables: Mapping[str, Sequence[pa.Table]], folder: Path) -> lora_perf.Zoo:
    """What the same parquet files are as a folder."""
    for split, some in tables.items():
        for path, content in shards(some, split, "").items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(content)
    return lora_perf.load(folder)


def packed(path: Path) -> str:
    return lora_perf.load(path / "zoo.safetensors").fingerprint


def test_a_data_set_is_packed_as_its_files_come(served: Served, tmp_path: Path) -> None:
    done = served.run(NAME, str(tmp_path / "zoo.safetensors"))
    assert done.returncode == 0, done.stderr
    zoo = lora_perf.load(tmp_path / "zoo.safetensors")
    assert zoo.fingerprint == of_tables({"train": PARTS}, tmp_path / "folder").fingerprint
    assert zoo.classes == lora_perf.load(tmp_path / "folder").classes
    assert zoo.origin == f"hf://datasets/{NAME}@{REPOSITORIES[NAME].commit}"
    assert served.arrow_files() == []
    assert [path.name for path in tmp_path.iterdir() if "arriving" in path.name] == []
    assert sorted(served.fetched)[-3:] == sorted(REPOSITORIES[NAME].files)


def test_an_address_is_fetched_as_its_id_is(served: Served, tmp_path: Path) -> None:
    assert served.run(f"hf://datasets/{NAME}", str(tmp_path / "zoo.safetensors")).returncode == 0
    assert packed(tmp_path) == of_tables({"train": PARTS}, tmp_path / "folder").fingerprint
    assert served.arrow_files() == []


def test_splits_are_the_zoos_own(served: Served, tmp_path: Path) -> None:
    assert served.run("somebody/parted", str(tmp_path / "zoo.safetensors")).returncode == 0
    zoo = lora_perf.load(tmp_path / "zoo.safetensors")
    parts = {"train": PARTS[:2], "test": PARTS[2:]}
    data = datasets.DatasetDict({name: datasets.Dataset(pa.concat_tables(some)) for name, some in parts.items()})
    assert zoo.fingerprint == lora_perf.load(data).fingerprint
    assert (len(zoo.train), len(zoo.test)) == (11, 6)
    assert served.run("somebody/parted", str(tmp_path / "test.safetensors"), "--split", "test").returncode == 0
    assert len(lora_perf.load(tmp_path / "test.safetensors")) == 6
    assert not [path for path in served.fetched[-2:] if "train" in path]


def test_one_of_two_configurations_is_named(served: Served, tmp_path: Path) -> None:
    done = served.run("somebody/two", str(tmp_path / "zoo.safetensors"))
    assert done.returncode == 2
    assert "choose one behind a colon, as somebody/two:" in done.stderr.replace("\n", " ")
    assert served.run("somebody/two:small", str(tmp_path / "zoo.safetensors")).returncode == 0
    assert len(lora_perf.load(tmp_path / "zoo.safetensors")) == 7


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("somebody/gated", "a gated data set, and no access"),
        ("somebody/nothing", "no data set of this name"),
        (f"{NAME}@v9", "no such revision"),
        ("somebody/mixed", "the same layers in all files"),
        ("somebody/lines", "expected"),
    ],
)
def test_what_cannot_be_had_is_one_line(name: str, told: str, served: Served, tmp_path: Path) -> None:
    done = served.run(name, str(tmp_path / "zoo.safetensors"))
    assert done.returncode == 2, done.stderr
    assert told in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "zoo.safetensors").exists()


def test_a_connection_that_breaks_costs_its_shard_only(served: Served, tmp_path: Path) -> None:
    last = sorted(REPOSITORIES[NAME].files)[-1]
    served.breaks[last] = 500
    done = served.run(NAME, str(tmp_path / "zoo.safetensors"))
    assert done.returncode == 2, done.stdout
    assert "the same command goes on there" in done.stderr.replace("\n", " ")
    assert not (tmp_path / "zoo.safetensors").exists()
    served.breaks.clear()
    served.fetched.clear()
    assert served.run(NAME, str(tmp_path / "zoo.safetensors")).returncode == 0
    assert [path for path in served.fetched if path.endswith(".parquet")] == [last]
    assert (
        lora_perf.load(tmp_path / "zoo.safetensors").fingerprint == of_tables({"train": PARTS}, tmp_path / "folder").fingerprint
    )


def test_another_revision_begins_anew(served: Served, tmp_path: Path) -> None:
    served.breaks[sorted(REPOSITORIES[NAME].files)[-1]] = 500
    assert served.run(NAME, str(tmp_path / "zoo.safetensors")).returncode == 2
    state = tmp_path / ".zoo.safetensors.arriving" / "state.json"
    state.write_text(state.read_text().replace(REPOSITORIES[NAME].commit, "f" * 40))
    served.breaks.clear()
    assert served.run(NAME, str(tmp_path / "zoo.safetensors")).returncode == 0
    assert (
        lora_perf.load(tmp_path / "zoo.safetensors").fingerprint == of_tables({"train": PARTS}, tmp_path / "folder").fingerprint
    )


def test_the_files_are_those_that_datasets_reads(served: Served, tmp_path: Path) -> None:
    """The same adapters in the same order, with the same labels, by the other way through the cache of `datasets`."""
    code = "import lora_perf, sys; zoo = lora_perf.load(sys.argv[1]); print(zoo.fingerprint, zoo.origin)"
    done = subprocess.run(
        [sys.executable, "-c", code, NAME], env=served.environment(), capture_output=True, text=True, check=True
    )
    assert served.run(NAME, str(tmp_path / "zoo.safetensors")).returncode == 0
    zoo = lora_perf.load(tmp_path / "zoo.safetensors")
    assert done.stdout.split() == [zoo.fingerprint, zoo.origin]


def test_an_experiment_fetches_once_records_the_revision_and_runs_offline(served: Served, tmp_path: Path) -> None:
    classed = Repository(shards([_classed(30), _classed(30)], "train"))
    with serving({NAME: classed}) as (address, fetched, _):
        arguments = ["--dataset", NAME, "--output-dir", str(tmp_path / "out"), "--quick", "--representations", "stats"]
        done = served.run(*arguments, module="lora_perf.experiment", HF_ENDPOINT=address)
        assert done.returncode == 0, done.stderr
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert results["dataset"]["origin"] == f"hf://datasets/{NAME}@{classed.commit}"
        assert served.arrow_files() == []
        fetched.clear()
    again = served.run(*arguments, module="lora_perf.experiment", HF_ENDPOINT="http://127.0.0.1:9")
    assert again.returncode == 0, again.stderr
    assert fetched == []


def _classed(n: int) -> pa.Table:
    table = adapters(n)
    classes = [["cat", "dog", "bird"][i % 3] for i in range(n)]
    return table.drop_columns([LABEL]).append_column(LABEL, [classes])


def test_memory_and_disk_do_not_grow_with_the_data_set(served: Served, tmp_path: Path) -> None:
    """Eight shards of 12 MB each, in 400 MB of memory, with at most three of them on the disk beside the rows."""
    width = 50_000
    rng = np.random.default_rng(1)

    kind = pa.list_(pa.list_(pa.float32()))
    shapes = {"a.lora.down.weight": (30, 1, width), "a.lora.up.weight": (30, width, 1)}
    made = {name: rng.standard_normal(shape, dtype=np.float32).tolist() for name, shape in shapes.items()}
    one = parquet(pa.table({name: pa.array(values, kind) for name, values in made.items()}))
    files = {f"train-{i:05d}-of-00008.parquet": one for i in range(8)}
    code = "import sys; from lora_perf.io.__main__ import main; sys.exit(main(sys.argv[1:]))"
    with serving({NAME: Repository(files)}) as (address, _, _):
        done = run_limited(
            ["-c", code, NAME, str(tmp_path / "zoo.safetensors"), "--label-column", "None"],
            600_000_000,
            environment=served.environment(HF_ENDPOINT=address),
        )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "zoo.safetensors").stat().st_size > 8 * 30 * 2 * width * 4
    assert served.arrow_files() == []
