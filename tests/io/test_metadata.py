"""Names of adapters and the other columns of their sources."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.io.plain import as_meant
from tests.io.adapters import factors, save, tensors, zoo_folder
from tests.io.tables.forms import adapters

COLUMNS = {
    "num_images": pa.array([3, None, 5]),
    "step_loss": pa.array([0.5, 0.25, 1.0], pa.float32()),
    "base": pa.array(["sd", "sd", "xl"]).dictionary_encode(),
    "flipped": pa.array([True, False, None]),
    "made": pa.array([0, 1, 2], pa.date32()),
    "tags": pa.array([["a"], [], ["b"]]),
    "settings": pa.array([{"lr": 1.0}] * 3),
}
PLAIN = {
    "num_images": [3, None, 5],
    "step_loss": [0.5, 0.25, 1.0],
    "base": ["sd", "sd", "xl"],
    "flipped": [True, False, None],
    "made": ["1970-01-01", "1970-01-02", "1970-01-03"],
    "tags": [["a"], [], ["b"]],
}


def table(**more: pa.Array) -> pa.Table:
    whole = adapters(3)
    for name, values in (COLUMNS | more).items():
        whole = whole.append_column(name, values)
    return whole


@pytest.mark.parametrize("form", ["table", "parquet", "data set"])
def test_the_other_columns_of_a_table_are_metadata(form: str, tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "zoo.parquet")
    sources = {"table": table(), "parquet": tmp_path / "zoo.parquet", "data set": datasets.Dataset(table())}
    zoo = lora_perf.load(sources[form])
    assert dict(zoo.metadata) == PLAIN
    assert zoo.names == ["row 0", "row 1", "row 2"]
    assert dict(pickle.loads(pickle.dumps(zoo)).metadata) == PLAIN
    assert dict(copy.deepcopy(lora_perf.load(sources[form])).metadata) == PLAIN
    assert dict(lora_perf.load(lora_perf.pack(zoo, tmp_path / "packed.safetensors")).metadata) == PLAIN


def test_a_selected_data_set_has_the_metadata_of_its_rows() -> None:
    zoo = lora_perf.load(datasets.Dataset(table()).select([2, 0]))
    assert zoo.metadata["num_images"] == [5, 3]


def test_class_labels_of_another_column_are_names() -> None:
    features = datasets.Features({"style": datasets.ClassLabel(names=["ink", "oil"])})
    styles = datasets.Dataset.from_dict({"style": [1, 0, 1]}, features)
    data = datasets.concatenate_datasets([datasets.Dataset(adapters(3)), styles], axis=1)
    assert lora_perf.load(data).metadata["style"] == ["oil", "ink", "oil"]


@pytest.mark.parametrize(
    ("column", "values", "names"),
    [
        ("id", ["x", "y", "z"], ["x", "y", "z"]),
        ("ID", [7, 8, 9], ["7", "8", "9"]),
        ("filename", ["a", "a", "b"], ["row 0", "row 1", "row 2"]),
        ("name", ["a", None, "b"], ["a", "row 1", "b"]),
    ],
)
def test_adapters_of_a_table_are_called_by_its_column_of_names(column: str, values: list[object], names: list[str]) -> None:
    assert lora_perf.load(table(**{column: pa.array(values)})).names == names


def test_a_shard_without_a_column_has_no_values_there(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet")
    pq.write_table(adapters(3), tmp_path / "b.parquet")
    assert lora_perf.load(tmp_path).metadata["num_images"] == [3, None, 5, None, None, None]


def test_headers_and_configurations_are_metadata(tmp_path: Path) -> None:
    for i in range(2):
        said = {"ss_steps": str(10 * i), "ss_lr": "1e-4", "ss_tags": '{"a": 1}', "format": "pt", "ss_text": ("x", "None")[i]}
        save(tmp_path / "cat" / f"{i}" / "adapter_model.safetensors", tensors(factors(i), "peft"), said)
        config = {"base_model_name_or_path": f"base {i}", "r": 2, "lora_alpha": 2, "target_modules": ["q"]}
        (tmp_path / "cat" / f"{i}" / "adapter_config.json").write_text(json.dumps(config))
    zoo = lora_perf.load(tmp_path)
    wanted = {
        "ss_steps": [0, 10],
        "ss_lr": [1e-4, 1e-4],
        "ss_text": ["x", None],
        "base_model_name_or_path": ["base 0", "base 1"],
        "r": [2, 2],
        "lora_alpha": [2, 2],
    }
    assert dict(zoo.metadata) == wanted
    assert dict(pickle.loads(pickle.dumps(zoo)).metadata) == wanted
    assert zoo.names == ["cat/0/adapter_model.safetensors", "cat/1/adapter_model.safetensors"]


def test_opening_a_folder_reads_no_header_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo_folder(tmp_path)
    from lora_perf.io.files.reader import Reader

    monkeypatch.setattr(Reader, "entries", lambda *_: pytest.fail("a header was read for its metadata"))
    assert lora_perf.load(tmp_path).metadata is not None


def test_rows_of_a_table_count_before_headers(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", tensors(factors(0)), {"steps": "1", "author": "x"})
    row = {"file_name": "a.safetensors", "label": "cat", "steps": 2, "tags": ["t"], "sizes": [0.5], "settings": {"lr": 1}}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    assert dict(lora_perf.load(tmp_path).metadata) == {"steps": [2], "tags": [["t"]], "author": ["x"]}


def test_lists_of_a_description_are_several_labels(tmp_path: Path) -> None:
    lists = [["ink", "dog"], [], ["dog"], None]
    rows = []
    for i, tags in enumerate(lists):
        save(tmp_path / f"{i}.safetensors", tensors(factors(i), "peft"))
        rows.append(json.dumps({"file_name": f"{i}.safetensors", "label": "cat", "tags": tags}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    assert lora_perf.load(tmp_path).metadata["tags"] == lists


@given(st.lists(st.integers() | st.none()))
def test_numbers_that_were_written_as_texts_come_back(values: list[int | None]) -> None:
    assert as_meant([None if value is None else str(value) for value in values]) == values


@given(st.lists(st.text().filter(lambda text: text not in ("", "None", "null")), min_size=1))
def test_a_text_among_words_stays_as_it_is(values: list[str]) -> None:
    assert as_meant([*values, "a word"]) == [*values, "a word"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system does not list what a process has open")
def test_no_parquet_file_stays_open(tmp_path: Path) -> None:
    for name in "abc":
        pq.write_table(table(), tmp_path / f"{name}.parquet")
    before = set(os.listdir("/proc/self/fd"))
    zoo = lora_perf.load(tmp_path)
    assert zoo.metadata["num_images"] == PLAIN["num_images"] * 3
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_parquet_file_that_was_written_since_gives_no_metadata(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "zoo.parquet")
    zoo = lora_perf.load(tmp_path / "zoo.parquet")
    pq.write_table(adapters(3), tmp_path / "zoo.parquet")
    with pytest.raises(LoraPerfError, match="another one, written since; load the data set again"):
        zoo.metadata["num_images"]
