"""The columns of tables by the grammar of files: the same adapters are the same zoo, in whatever they are stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import lora_perf
from tests.io.tables.dialects import DIALECTS, N, R, as_folder, as_table, assert_same_updates, factors
from tests.io.tables.forms import DOWN, GOOD, LABEL, UP, assert_rows, lists, normal, refuses_table, table_of, zoo_of

MODULE = DOWN.removesuffix(".lora.down.weight")
PAIR = {DOWN: lists(GOOD), UP: lists(GOOD)}
VECTOR = pa.list_(pa.float32())


def both(*shapes: tuple[int, ...]) -> list[Any]:
    """The values of a down and an up."""
    return [normal(N, *shape, seed=i) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_table_is_the_zoo_of_the_folder_of_its_adapters(dialect: str, tmp_path: Path) -> None:
    values = factors(dialect)
    table, folder = zoo_of(as_table(values)), lora_perf.load(as_folder(tmp_path / "zoo", values))
    assert {(layer.name, layer.shape) for layer in table.layout} == {(layer.name, layer.shape) for layer in folder.layout}
    assert_same_updates(table, folder)


def test_the_layers_keep_the_order_of_their_columns() -> None:
    zoo = zoo_of(as_table(dict(reversed(factors("kohya").items()))))
    assert [(layer.module.rpartition(".")[2], layer.side) for layer in zoo.layout] == [
        ("proj_out", "up"), ("proj_out", "down"), ("proj_in", "up"), ("proj_in", "down"),
    ]  # fmt: skip


def test_extras_that_are_no_part_of_a_lora_are_left_alone() -> None:
    assert len(zoo_of(table_of({**PAIR, "clip": lists([1.0], kind=VECTOR), "lora_url": ["x"]})).layout) == 2


def test_columns_that_are_no_factors_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    bias = DOWN.replace("down.weight", "up.bias")
    lora_perf.load(table_of({**PAIR, bias: lists([1.0], kind=VECTOR)}))
    assert f"Table: 1 column of numbers left alone, since they are no factors: {bias}" in caplog.messages


def test_a_table_in_memory_is_a_zoo() -> None:
    table = as_table({DOWN: normal(N, R, 5), UP: normal(N, 4, R)})
    expected = zoo_of(table).rows.numpy()
    assert_rows(lora_perf.load(table), expected)
    assert_rows(lora_perf.load(table.to_batches()[0]), expected)


# Shapes


def declared(table: pa.Table, shapes: dict[str, list[int]]) -> pa.Table:
    """The table with the shapes of some columns in their metadata."""
    for name, shape in shapes.items():
        field = table.schema.field(name).with_metadata({"shape": json.dumps(shape)})
        table = table.set_column(table.schema.get_field_index(name), field, table.column(name))
    return table


def test_a_vector_has_the_rank_of_its_partner_or_its_declared_shape() -> None:
    down, up = both((R, 5), (4, R))
    flat_down, flat_up = down.reshape(N, -1), up.reshape(N, -1)
    whole = zoo_of(as_table({DOWN: down, UP: up}))
    for table in (
        as_table({DOWN: flat_down, UP: up}),
        as_table({DOWN: down, UP: flat_up}),
        declared(as_table({DOWN: flat_down, UP: flat_up}), {DOWN: [R, 5], UP: [4, R]}),
    ):
        zoo = zoo_of(table)
        assert [layer.shape for layer in zoo.layout] == [(R, 5), (4, R)]
        assert_same_updates(zoo, whole)


def test_two_vectors_are_of_rank_1_and_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    zoo = zoo_of(as_table({DOWN: normal(N, 5), UP: normal(N, 4)}))
    assert [layer.shape for layer in zoo.layout] == [(1, 5), (4, 1)]
    assert "2 columns of flat vectors, which declare no shape, are taken as factors of rank 1" in caplog.text


def test_a_convolution_is_flattened_as_in_files(tmp_path: Path) -> None:
    down, up = both((R, 5, 3, 3), (4, R, 1, 1))
    stem = "lora_unet_mid_block_resnets_0_conv1"
    values = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    zoo = zoo_of(as_table(values))
    assert [layer.shape for layer in zoo.layout] == [(R, 45), (4, R)]
    assert_same_updates(zoo, lora_perf.load(as_folder(tmp_path / "zoo", values)))


# What is refused


def typed(kind: pa.DataType) -> pa.Table:
    return table_of({DOWN: pa.array([None], kind), UP: lists(GOOD)})


NO_PRODUCT = r"found (LoHa|LoKr|OFT) in the names of its columns"
REFUSED: dict[str, tuple[pa.Table, str]] = {
    **{name: (table_of({**PAIR, name: lists(GOOD)}), NO_PRODUCT) for name in ("a.hada_w1_a", "a.lokr_w1", "a.oft_blocks")},
    "an unknown name": (
        table_of({**PAIR, "a.lora_down.0.weight": lists(GOOD)}),
        r"found 1 of unknown names: a\.lora_down\.0\.weight; rename",
    ),
    "transposed factors": (
        table_of({"a.lora_a": lists(GOOD), "a.lora_b": lists(GOOD)}),
        r"found a\.lora_a, which MLX stores transposed; transpose them",
    ),
    "a number of no meaning": (table_of({**PAIR, f"{MODULE}.scale": [2.0]}), f"meaning nothing defines: {MODULE}.scale; leave"),
    "vectors of a stated rank above 1": (
        as_table({DOWN: normal(N, 10), UP: normal(N, 8)}, rank=pa.array([2] * N)),
        "found 2 in row 0, and factors of rank 1; store the factors as matrices",
    ),
    "a vector that the rank does not divide": (
        as_table({DOWN: normal(N, 5), UP: normal(N, 4, 2)}),
        f"a vector of rank 2 times a width in column {DOWN}, .* found 5 numbers",
    ),
    "another declared shape": (
        declared(as_table({DOWN: normal(N, R, 5), UP: normal(N, 4, R)}), {DOWN: [5, 2]}),
        rf"declared shape \(5, 2\) in column {DOWN}.*; found shape \(2, 5\)",
    ),
    "two ranks": (
        as_table({DOWN: normal(N, 2, 5), UP: normal(N, 4, 3)}),
        r"one rank .*among the columns of table; found shapes \(2, 5\) and \(4, 3\)",
    ),
    "flat rows": (
        pa.table({"weights": lists([1.0] * 40, kind=VECTOR), LABEL: ["a"]}),
        r"a column for each factor.*; found weights, lists of numbers; cut them .*Zoo\.from_rows",
    ),
    "a column a number": (
        pa.table({**{str(i): [0.5] for i in range(200)}, LABEL: ["a"]}),
        "found 200 columns of single numbers",
    ),
    "16 bits": (typed(pa.list_(pa.list_(pa.uint16()))), f"in column {DOWN}; found .*bfloat16 or float16 kept as their bits"),
    "8 bits": (typed(pa.list_(pa.list_(pa.int8()))), f"in column {DOWN}; found .*quantised or 8-bit weights"),
    "64 bits": (typed(pa.list_(pa.list_(pa.int64()))), f"in column {DOWN}; found .*whole numbers"),
    "decimals": (typed(pa.list_(pa.list_(pa.decimal128(9, 3)))), f"in column {DOWN}; found .*decimal128"),
    "texts": (typed(pa.string()), f"in column {DOWN}; found .*type string"),
}


@pytest.mark.parametrize(("table", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_table_that_is_none_of_adapters_is_refused(table: pa.Table, message: str) -> None:
    refuses_table(table, message)
