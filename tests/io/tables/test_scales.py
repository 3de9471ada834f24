"""Scales in the columns and the schemas of tables: as the same numbers in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

import lora_perf
from lora_perf.core.zoo import Zoo
from tests.io.checks import refuses
from tests.io.tables.dialects import MODULE, N, as_folder, as_table, assert_same_updates, factors
from tests.io.tables.forms import DOWN, GOOD, UP, Values, adapters, lists, nested, normal, refuses_table, table_of, zoo_of

ALPHA = f"{MODULE}.alpha"
PAIR = {DOWN: lists(GOOD), UP: lists(GOOD)}
OWN, OTHER = "unet.mid_block.attn1.to_q.alpha", "unet.mid_block.other.alpha"


def kohya_with_alphas() -> dict[str, Values]:
    return {
        **factors("kohya"),
        "lora_unet_mid_block_attentions_0_proj_in.alpha": np.array([8, 4, 2, 1], "float32"),
        "lora_unet_mid_block_attentions_0_proj_out.alpha": np.array([1, 1, 3, 0.3], "float32"),
    }


def assert_scales(zoo: Zoo, *rows: list[float]) -> None:
    assert_array_equal(zoo.scales.numpy(), np.array(rows, "float32"))


# Alphas by module


def test_alpha_columns_are_scales_as_in_files(tmp_path: Path) -> None:
    values = kohya_with_alphas()
    zoo = zoo_of(as_table(values))
    assert_scales(zoo, [4, 0.5], [2, 0.5], [1, 1.5], [0.5, 0.15])
    assert_same_updates(zoo, lora_perf.load(as_folder(tmp_path / "zoo", values)))
    assert_scales(zoo_of(as_table(values), [3, 0, 0]), [0.5, 0.15], [4, 0.5], [4, 0.5])
    pq.write_table(as_table(values), tmp_path / "zoo.parquet", row_group_size=3)
    assert_scales(lora_perf.load(tmp_path / "zoo.parquet"), [4, 0.5], [2, 0.5], [1, 1.5], [0.5, 0.15])


@pytest.mark.parametrize(
    "make",
    [
        lambda v: pa.array(v.astype("float16")),
        lambda v: pa.array(v.astype("int64")),
        lambda v: pa.array(v).dictionary_encode(),
        lambda v: pa.array([[x] for x in v.tolist()], pa.list_(pa.float32())),
        lambda v: pa.array([[x] for x in v.tolist()], pa.list_(pa.float32(), 1)),
    ],
    ids=["float16", "int64", "dictionary", "list", "fixed"],
)
def test_an_alpha_counts_in_whatever_type_it_is_stored(make: Any) -> None:
    alpha = make(np.array([8, 4, 2, 1], "float32"))
    assert_scales(zoo_of(as_table(factors("diffusers"), **{ALPHA: alpha})), [4, 1], [2, 1], [1, 1], [0.5, 1])


def test_alphas_equal_to_the_rank_are_no_scale() -> None:
    columns = {f"unet.mid_block.attentions.0.{name}.alpha": pa.array([2.0] * N) for name in ("proj_in", "proj_out")}
    assert zoo_of(as_table(factors("diffusers"), **columns)).scales is None


def test_alphas_that_differ_from_row_to_row_are_used_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    n = 1500  # more than there may be statements for whole adapters
    columns = {DOWN: nested(normal(n, 1, 2), ("list", "list")), UP: nested(normal(n, 2, 1), ("list", "list"))}
    alphas = np.arange(1, n + 1, dtype="float32")
    assert_scales(zoo_of(table_of({**columns, OWN: pa.array(alphas)})), *alphas[:, None].tolist())
    assert caplog.text == ""


# Statements for whole adapters


@pytest.mark.parametrize("name", ["lora_alpha", "network_alpha", "alpha"])
def test_a_column_of_one_alpha_an_adapter_counts_for_all_its_modules(name: str) -> None:
    assert_scales(zoo_of(as_table(factors("peft"), **{name: pa.array([8, 4, 2, 1])})), [4, 4], [2, 2], [1, 1], [0.5, 0.5])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_an_alpha_that_is_stored_as_text_counts_as_in_the_metadata_of_a_file(kind: pa.DataType) -> None:
    texts = pa.array(["8", "4", "2", "1.0"]).cast(kind)
    assert_scales(zoo_of(as_table(factors("peft"), lora_alpha=texts)), [4, 4], [2, 2], [1, 1], [0.5, 0.5])


def value(text: str) -> Any:
    """As a table would hold it: numbers and truth values as such."""
    return {"true": True, "false": False}.get(text, int(text) if text.isdecimal() else text)


@pytest.mark.parametrize("dialect", ["diffusers", "kohya"])
@pytest.mark.parametrize(
    "rows",
    [
        [{"lora_alpha": "8", "rank": "2"}, {"lora_alpha": "4", "rank": "2"}, {"lora_alpha": "8", "rank": "2"}],
        [{"alpha": "3", "use_rslora": "true"}, {"alpha": "3", "use_rslora": "false"}],
        [{"ss_network_alpha": "4", "ss_network_dim": "2"}, {"ss_network_alpha": "8", "ss_network_dim": "2"}],
        [{"ss_network_alpha": "None", "ss_network_dim": "Dynamic"}],
    ],
)
def test_columns_are_the_metadata_of_their_rows_as_in_files(dialect: str, rows: list[dict[str, str]], tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "zoo", factors(dialect), rows)
    columns = {name: pa.array([value(rows[i % len(rows)][name]) for i in range(N)]) for name in rows[0]}
    assert_same_updates(zoo_of(as_table(factors(dialect), **columns)), lora_perf.load(folder))


def test_rslora_divides_by_the_root() -> None:
    table = as_table(factors("peft"), lora_alpha=pa.array([8] * N), use_rslora=pa.array([True, False] * 2))
    assert_scales(zoo_of(table), *[[8 / np.sqrt(2)] * 2, [4, 4]] * 2)


def test_columns_of_other_types_with_short_names_state_nothing() -> None:
    columns = {"r": pa.array([0.1] * N), "rank": pa.array(["gold"] * N), "alpha": pa.array(["a"] * N)}
    assert zoo_of(as_table(factors("peft"), **columns)).scales is None


def test_what_libraries_say_of_columns_is_no_statement(caplog: pytest.LogCaptureFixture) -> None:
    table = adapters(3).append_column("lora_alpha", pa.array([4, 6, 8]))
    for source in (datasets.Dataset(table), table.to_pandas()):
        assert_scales(lora_perf.load(source), [2], [3], [4])
    assert not caplog.messages


@pytest.mark.parametrize(
    "metadata", [{"lora_alpha": "6", "r": "2"}, {"lora_adapter_metadata": json.dumps({"r": 2, "lora_alpha": 6})}]
)
def test_a_scale_in_the_metadata_of_a_schema_counts(metadata: dict[str, str], tmp_path: Path) -> None:
    values = factors("diffusers")
    zoo = zoo_of(as_table(values).replace_schema_metadata(metadata))
    assert_scales(zoo, *[[3, 3]] * N)
    assert_same_updates(zoo, lora_perf.load(as_folder(tmp_path / "zoo", values, [metadata])))


# What is refused


def diffusers(**columns: list[Any]) -> pa.Table:
    return as_table(factors("diffusers"), **{name: pa.array(values) for name, values in columns.items()})


REFUSED: dict[str, tuple[pa.Table, str]] = {
    **{
        f"an alpha of {bad}": (
            diffusers(**{ALPHA: [1.0, 1.0, bad, 1.0]}),
            f"in every row of column {ALPHA}; found {found} in row 2; fill",
        )
        for bad, found in ((None, "none"), (float("nan"), "none"), (float("inf"), "inf"), (1e39, "1e\\+39"))
    },
    "a scale that no float32 holds": (
        diffusers(lora_alpha=[1.0, 1.0, 1e300, 1.0]),
        f"a scale of {MODULE} that a float32 holds in row 2; found 5e\\+299; repair",
    ),
    "an alpha of texts": (
        diffusers(**{ALPHA: ["x"] * N}),
        f"one number an adapter in column '{ALPHA}'; found type large_string",
    ),
    "an alpha of no module": (
        table_of({**PAIR, OTHER: [1.0]}),
        rf"found no factors for {OTHER}, and no scale for 1 of 1 modules",
    ),
    "an alpha of no module beside those of all": (
        table_of({**PAIR, OWN: [1.0], OTHER: [1.0]}),
        rf"found 1 of no such module: {OTHER}; rename",
    ),
    "an alpha of a single side": (table_of({DOWN: lists(GOOD), OWN: [1.0]}), f"found 1 of no such module: {OWN}"),
    "a missing statement": (
        diffusers(lora_alpha=[1, 1, None, 1]),
        r"in every row of column lora_alpha, .* found none in row 2; fill",
    ),
    "two statements": (
        diffusers(**{ALPHA: [2.0, 2, 2, 3], "lora_alpha": [2] * N}),
        f"one scale for {MODULE}; found 1.5 by column {ALPHA} in row 3, 1 by lora_alpha",
    ),
    **{
        f"another {name}": (
            diffusers(**{name: [2, 4, 2, 2]}),
            f"column {name} of table states; found 4 in row 1, and factors of rank 2; store",
        )
        for name in ("rank", "lora_rank", "r", "network_dim")
    },
    "metadata and an alpha": (
        diffusers(**{ALPHA: [6.0, 6, 2, 6]}).replace_schema_metadata({"lora_alpha": "6", "r": "2"}),
        rf"found 1 by column {ALPHA} in row 2, 3 by ",
    ),
}


@pytest.mark.parametrize(("table", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_scales_that_are_none_or_contradict_are_refused(table: pa.Table, message: str) -> None:
    refuses_table(table, message)


def test_too_many_statements_for_whole_adapters_are_refused() -> None:
    table = table_of({DOWN: lists(*[GOOD] * 1500), UP: lists(*[GOOD] * 1500), "alpha": pa.array(np.arange(1500.0))})
    refuses_table(table, "at most 1,000 different scales in the columns alpha; found more before row 1000")


def test_shards_that_state_other_scales_are_refused(tmp_path: Path) -> None:
    for name, alpha in (("a", "4"), ("b", "6")):
        pq.write_table(diffusers().replace_schema_metadata({"lora_alpha": alpha, "r": "2"}), tmp_path / f"{name}.parquet")
    refuses(tmp_path, r"the stated ranks and scales of a\.parquet in every shard; found others in b\.parquet")
