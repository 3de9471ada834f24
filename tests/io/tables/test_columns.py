"""The columns of tables by the grammar of files: the same adapters are the same zoo, in whatever they are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

import lora_perf
from lora_perf.core.zoo import Zoo
from tests.io.checks import refuses
from tests.io.tables.forms import (
    DOWN,
    GOOD,
    LABEL,
    UP,
    Values,
    assert_rows,
    lists,
    nested,
    normal,
    refuses_table,
    table_of,
    zoo_of,
)

N, R = 4, 2

# The names of the down and the up of two modules in each dialect, with the modules' canonical names.
DIALECTS: dict[str, tuple[str, list[str]]] = {
    "diffusers": ("unet.mid_block.attentions.0.{}.lora.{}.weight", ["proj_in", "proj_out"]),
    "diffusers without unet.": ("mid_block.attentions.0.{}.lora.{}.weight", ["proj_in", "proj_out"]),
    "old diffusers": ("unet.mid_block.attn1.processor.{}_lora.{}.weight", ["to_q", "to_out"]),
    "kohya": ("lora_unet_mid_block_attentions_0_{}.lora_{}.weight", ["proj_in", "proj_out"]),
    "peft": ("base_model.model.layers.0.{}.lora_{}.weight", ["q", "v"]),
    "peft with an adapter's name": ("base_model.model.layers.0.{}.lora_{}.default.weight", ["q", "v"]),
    "xlabs": ("double_blocks.0.processor.{}_lora1.{}.weight", ["qkv", "proj"]),
    "loralib": ("layers.0.{}.lora_{}", ["q", "v"]),
}


def factors(pattern: str, modules: list[str]) -> dict[str, Values]:
    """Values (N, *shape) by the names of a dialect."""
    sides = ("A", "B") if "lora_{}" in pattern and "unet" not in pattern else ("down", "up")
    return {
        pattern.format(module, side): normal(N, *shape, seed=2 * i + k)
        for i, module in enumerate(modules)
        for k, (side, shape) in enumerate(zip(sides, ((R, 5), (4, R)), strict=True))
    }


def as_table(values: Mapping[str, Values], **others: Any) -> pa.Table:
    """A table of matrices, vectors and numbers with labels."""
    columns = {name: nested(one, ["list"] * (one.ndim - 1)) if one.ndim > 1 else pa.array(one) for name, one in values.items()}
    return table_of({**columns, **others}, ["cat", "dog"] * (N // 2))


def as_folder(folder: Path, values: Mapping[str, Values], metadata: dict[str, str] | None = None) -> Path:
    for i in range(N):
        inner = folder / ("cat", "dog")[i % 2]
        inner.mkdir(parents=True, exist_ok=True)
        save_file({name: np.asarray(one[i]) for name, one in values.items()}, inner / f"{i}.safetensors", metadata)
    return folder


def updates(zoo: Zoo) -> dict[str, Values]:
    """dW (n, m, k) of each module, the rows of a class together."""
    order = np.argsort(zoo.labels.numpy(), kind="stable")
    found = {}
    for place, module in enumerate(zoo.layout.modules):
        up, down = zoo.module(module.name)
        scales = 1.0 if zoo.scales is None else zoo.scales[:, place, None, None]
        found[module.name] = (scales * (up @ down)).numpy()[order]
    return found


def assert_same_updates(table: Zoo, folder: Zoo) -> None:
    mine, theirs = updates(table), updates(folder)
    assert sorted(mine) == sorted(theirs)
    for module in mine:
        assert_array_equal(mine[module], theirs[module])


# Names


@pytest.mark.parametrize(("pattern", "modules"), DIALECTS.values(), ids=DIALECTS.keys())
def test_a_table_is_the_zoo_of_the_folder_of_its_adapters(pattern: str, modules: list[str], tmp_path: Path) -> None:
    values = factors(pattern, modules)
    table, folder = zoo_of(as_table(values)), lora_perf.load(as_folder(tmp_path / "zoo", values))
    assert {(layer.name, layer.shape) for layer in table.layout} == {(layer.name, layer.shape) for layer in folder.layout}
    assert_same_updates(table, folder)


def test_the_layers_keep_the_order_of_their_columns() -> None:
    values = factors(*DIALECTS["kohya"])
    zoo = zoo_of(as_table(dict(reversed(values.items()))))
    assert [(layer.module.rpartition(".")[2], layer.side) for layer in zoo.layout] == [
        ("proj_out", "up"), ("proj_out", "down"), ("proj_in", "up"), ("proj_in", "down"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.hada_w1_a", "a.lokr_w1", "a.oft_blocks"])
def test_a_kind_that_is_no_product_is_named(name: str) -> None:
    refuses_table(
        table_of({DOWN: lists(GOOD), UP: lists(GOOD), name: lists(GOOD)}), r"found (LoHa|LoKr|OFT) in the names of its columns"
    )


def test_a_column_of_weights_with_a_name_that_nothing_knows_is_refused() -> None:
    refuses_table(
        table_of({DOWN: lists(GOOD), UP: lists(GOOD), "a.lora_down.0.weight": lists(GOOD)}),
        r"found 1 of unknown names: a\.lora_down\.0\.weight; rename",
    )


def test_transposed_factors_are_refused_with_the_cure() -> None:
    refuses_table(
        table_of({"a.lora_a": lists(GOOD), "a.lora_b": lists(GOOD)}),
        r"found a\.lora_a, which MLX stores transposed; transpose them",
    )


def test_a_number_beside_a_module_whose_meaning_nothing_defines_is_refused() -> None:
    module = DOWN.removesuffix(".lora.down.weight")
    refuses_table(
        table_of({DOWN: lists(GOOD), UP: lists(GOOD), f"{module}.scale": [2.0]}),
        f"meaning nothing defines: {module}.scale; leave",
    )


def test_extras_that_are_no_part_of_a_lora_are_left_alone() -> None:
    table = table_of({DOWN: lists(GOOD), UP: lists(GOOD), "clip": lists([1.0], kind=pa.list_(pa.float32())), "lora_url": ["x"]})
    assert len(zoo_of(table).layout) == 2


# Scales


def kohya_with_alphas() -> dict[str, Values]:
    values = factors("lora_unet_mid_block_attentions_0_{}.lora_{}.weight", ["proj_in", "proj_out"])
    return {
        **values,
        "lora_unet_mid_block_attentions_0_proj_in.alpha": np.array([8, 4, 2, 1], "float32"),
        "lora_unet_mid_block_attentions_0_proj_out.alpha": np.array([1, 1, 3, 0.3], "float32"),
    }


def test_alpha_columns_are_scales_as_in_files(tmp_path: Path) -> None:
    values = kohya_with_alphas()
    zoo = zoo_of(as_table(values))
    assert zoo.scales is not None
    assert_array_equal(zoo.scales.numpy(), np.array([[4, 0.5], [2, 0.5], [1, 1.5], [0.5, 0.15]], "float32"))
    assert_same_updates(zoo, lora_perf.load(as_folder(tmp_path / "zoo", values)))


def test_alphas_that_differ_from_row_to_row_are_used_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    n = 1500  # more than there may be statements for whole adapters
    columns = {DOWN: nested(normal(n, 1, 2), ("list", "list")), UP: nested(normal(n, 2, 1), ("list", "list"))}
    alphas = np.arange(1, n + 1, dtype="float32")
    zoo = zoo_of(table_of({**columns, "unet.mid_block.attn1.to_q.alpha": pa.array(alphas)}))
    assert zoo.scales is not None
    assert_array_equal(zoo.scales[:, 0].numpy(), alphas)
    assert caplog.text == ""


def test_too_many_statements_for_whole_adapters_are_refused() -> None:
    table = table_of({DOWN: lists(*[GOOD] * 1500), UP: lists(*[GOOD] * 1500), "alpha": pa.array(np.arange(1500.0))})
    refuses_table(table, "at most 1,000 different scales in the columns alpha; found more before row 1000")


def test_alpha_columns_of_parquet_are_scales(tmp_path: Path) -> None:
    pq.write_table(as_table(kohya_with_alphas()), tmp_path / "zoo.parquet", row_group_size=3)
    zoo = lora_perf.load(tmp_path / "zoo.parquet")
    assert zoo.scales is not None
    assert_array_equal(zoo.scales[:, 0].numpy(), np.array([4, 2, 1, 0.5], "float32"))


def test_alphas_follow_a_view() -> None:
    zoo = zoo_of(as_table(kohya_with_alphas()), [3, 0, 0])
    assert zoo.scales is not None
    assert_array_equal(zoo.scales[:, 0].numpy(), np.array([0.5, 4, 4], "float32"))


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
    values = factors(*DIALECTS["diffusers"])
    alpha = make(np.array([8, 4, 2, 1], "float32"))
    zoo = zoo_of(as_table(values, **{"unet.mid_block.attentions.0.proj_in.alpha": alpha}))
    assert zoo.scales is not None
    assert_array_equal(zoo.scales.numpy(), np.array([[4, 1], [2, 1], [1, 1], [0.5, 1]], "float32"))


def test_alphas_equal_to_the_rank_are_no_scale() -> None:
    values = factors(*DIALECTS["diffusers"])
    columns = {f"unet.mid_block.attentions.0.{name}.alpha": pa.array([2.0] * N) for name in ("proj_in", "proj_out")}
    assert zoo_of(as_table(values, **columns)).scales is None


@pytest.mark.parametrize(("bad", "found"), [(None, "none"), (float("nan"), "none"), (float("inf"), "inf"), (1e39, "1e\\+39")])
def test_an_alpha_that_is_no_number_is_named(bad: Any, found: str) -> None:
    name = "unet.mid_block.attentions.0.proj_in.alpha"
    refuses_table(
        as_table(factors(*DIALECTS["diffusers"]), **{name: pa.array([1.0, 1.0, bad, 1.0])}),
        f"in every row of column {name}; found {found} in row 2; fill",
    )


def test_an_alpha_of_texts_is_refused() -> None:
    name = "unet.mid_block.attentions.0.proj_in.alpha"
    refuses_table(
        as_table(factors(*DIALECTS["diffusers"]), **{name: pa.array(["x"] * N)}),
        f"one number an adapter in column '{name}'; found type large_string",
    )


def test_an_alpha_of_no_module_is_named() -> None:
    refuses_table(
        table_of({DOWN: lists(GOOD), UP: lists(GOOD), "unet.mid_block.other.alpha": [1.0]}),
        r"found no factors for unet\.mid_block\.other\.alpha, and no scale for 1 of 1 modules",
    )


def test_an_alpha_of_no_module_beside_those_of_all_is_named() -> None:
    columns = {"unet.mid_block.attn1.to_q.alpha": [1.0], "unet.mid_block.other.alpha": [1.0]}
    refuses_table(
        table_of({DOWN: lists(GOOD), UP: lists(GOOD), **columns}),
        r"found 1 of no such module: unet\.mid_block\.other\.alpha; rename",
    )


def test_an_alpha_of_a_single_side_is_named() -> None:
    refuses_table(
        table_of({DOWN: lists(GOOD), "unet.mid_block.attn1.to_q.alpha": [1.0]}),
        r"found 1 of no such module: unet\.mid_block\.attn1\.to_q\.alpha",
    )


@pytest.mark.parametrize("name", ["lora_alpha", "network_alpha", "alpha"])
def test_a_column_of_one_alpha_an_adapter_counts_for_all_its_modules(name: str) -> None:
    zoo = zoo_of(as_table(factors(*DIALECTS["peft"]), **{name: pa.array([8, 4, 2, 1])}))
    assert zoo.scales is not None
    assert_array_equal(zoo.scales.numpy(), np.array([[4, 4], [2, 2], [1, 1], [0.5, 0.5]], "float32"))


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
    values = factors(*DIALECTS[dialect])
    metadata = [rows[i % len(rows)] for i in range(N)]
    for i in range(N):
        path = tmp_path / "zoo" / ("cat", "dog")[i % 2] / f"{i}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: np.asarray(one[i]) for name, one in values.items()}, path, metadata[i])
    columns = {name: pa.array([_value(row[name]) for row in metadata]) for name in rows[0]}
    assert_same_updates(zoo_of(as_table(values, **columns)), lora_perf.load(tmp_path / "zoo"))


def _value(text: str) -> Any:
    """As a table would hold it: numbers and truth values as such."""
    return {"true": True, "false": False}.get(text, int(text) if text.isdecimal() else text)


def test_a_missing_statement_is_named_by_its_row() -> None:
    refuses_table(
        as_table(factors(*DIALECTS["peft"]), lora_alpha=pa.array([1, 1, None, 1])),
        r"in every row of column lora_alpha, .* found none in row 2; fill",
    )


def test_rslora_divides_by_the_root() -> None:
    table = as_table(factors(*DIALECTS["peft"]), lora_alpha=pa.array([8] * N), use_rslora=pa.array([True, False] * 2))
    scales = zoo_of(table).scales
    assert scales is not None
    assert_array_equal(scales[:, 0].numpy(), np.array([8 / np.sqrt(2), 4] * 2, "float32"))


def test_two_statements_of_an_alpha_must_agree() -> None:
    module = "unet.mid_block.attentions.0.proj_in"
    columns = {f"{module}.alpha": pa.array([2.0, 2, 2, 3]), "lora_alpha": pa.array([2] * N)}
    refuses_table(
        as_table(factors(*DIALECTS["diffusers"]), **columns),
        f"one scale for {module}; found 1.5 by column {module}.alpha in row 3, 1 by lora_alpha",
    )


@pytest.mark.parametrize("name", ["rank", "lora_rank", "r", "network_dim"])
def test_a_stated_rank_that_the_factors_do_not_have_is_refused(name: str) -> None:
    refuses_table(
        as_table(factors(*DIALECTS["peft"]), **{name: pa.array([2, 4, 2, 2])}),
        f"column {name} of table states; found 4 in row 1, and factors of rank 2; store",
    )


def test_columns_of_other_types_with_short_names_state_nothing() -> None:
    zoo = zoo_of(
        as_table(factors(*DIALECTS["peft"]), r=pa.array([0.1] * N), rank=pa.array(["gold"] * N), alpha=pa.array(["a"] * N))
    )
    assert zoo.scales is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"lora_alpha": "6", "r": "2"},
        {"lora_adapter_metadata": json.dumps({"r": 2, "lora_alpha": 6})},
    ],
)
def test_a_scale_in_the_metadata_of_a_schema_counts(metadata: dict[str, str], tmp_path: Path) -> None:
    values = factors(*DIALECTS["diffusers"])
    zoo = zoo_of(as_table(values).replace_schema_metadata(metadata))
    assert zoo.scales is not None
    assert_array_equal(zoo.scales.numpy(), np.full((N, 2), 3, "float32"))
    assert_same_updates(zoo, lora_perf.load(as_folder(tmp_path / "zoo", values, metadata)))


def test_metadata_that_contradict_an_alpha_column_are_refused() -> None:
    table = as_table(factors(*DIALECTS["diffusers"]), **{"unet.mid_block.attentions.0.proj_in.alpha": pa.array([6.0, 6, 2, 6])})
    refuses_table(
        table.replace_schema_metadata({"lora_alpha": "6", "r": "2"}), r"found 1 by column .*proj_in\.alpha in row 2, 3 by "
    )


def test_shards_that_state_other_scales_are_refused(tmp_path: Path) -> None:
    table = as_table(factors(*DIALECTS["diffusers"]))
    for name, alpha in (("a", "4"), ("b", "6")):
        pq.write_table(table.replace_schema_metadata({"lora_alpha": alpha, "r": "2"}), tmp_path / f"{name}.parquet")
    refuses(tmp_path, r"the stated ranks and scales of a\.parquet in every shard; found others in b\.parquet")


# Shapes


def test_a_vector_has_the_rank_of_its_partner(tmp_path: Path) -> None:
    down, up = normal(N, R, 5), normal(N, 4, R, seed=1)
    flat = zoo_of(as_table({DOWN: down.reshape(N, -1), UP: up}))
    assert [layer.shape for layer in flat.layout] == [(R, 5), (4, R)]
    assert_same_updates(flat, zoo_of(as_table({DOWN: down, UP: up})))
    other = zoo_of(as_table({DOWN: down, UP: up.reshape(N, -1)}))
    assert_same_updates(other, zoo_of(as_table({DOWN: down, UP: up})))


def test_two_vectors_are_of_rank_1_and_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    zoo = zoo_of(as_table({DOWN: normal(N, 5), UP: normal(N, 4)}))
    assert [layer.shape for layer in zoo.layout] == [(1, 5), (4, 1)]
    assert "2 columns of flat vectors, which declare no shape, are taken as factors of rank 1" in caplog.text


def test_vectors_of_a_stated_rank_above_1_are_refused() -> None:
    refuses_table(
        as_table({DOWN: normal(N, 10), UP: normal(N, 8)}, rank=pa.array([2] * N)),
        "found 2 in row 0, and factors of rank 1; store the factors as matrices",
    )


def test_a_vector_that_its_partners_rank_does_not_divide_is_refused() -> None:
    refuses_table(
        as_table({DOWN: normal(N, 5), UP: normal(N, 4, 2)}),
        f"a vector of rank 2 times a width in column {DOWN}, .* found 5 numbers",
    )


def test_a_declared_shape_is_that_of_a_vector() -> None:
    down, up = normal(N, R, 5), normal(N, 4, R, seed=1)
    table = as_table({DOWN: down.reshape(N, -1), UP: up.reshape(N, -1)})
    for name, shape in ((DOWN, [R, 5]), (UP, [4, R])):
        place = table.schema.get_field_index(name)
        table = table.set_column(
            place, table.schema.field(name).with_metadata({"shape": json.dumps(shape)}), table.column(name)
        )
    assert_same_updates(zoo_of(table), zoo_of(as_table({DOWN: down, UP: up})))


def test_a_declared_shape_that_the_values_do_not_have_is_refused() -> None:
    table = as_table({DOWN: normal(N, R, 5), UP: normal(N, 4, R)})
    table = table.set_column(0, table.schema.field(DOWN).with_metadata({"shape": "[5, 2]"}), table.column(DOWN))
    refuses_table(table, rf"declared shape \(5, 2\) in column {DOWN}.*; found shape \(2, 5\)")


def test_factors_of_two_ranks_are_refused() -> None:
    refuses_table(
        as_table({DOWN: normal(N, 2, 5), UP: normal(N, 4, 3)}),
        r"one rank .*among the columns of table; found shapes \(2, 5\) and \(4, 3\)",
    )


def test_a_convolution_is_flattened_as_in_files(tmp_path: Path) -> None:
    values = {
        "lora_unet_mid_block_resnets_0_conv1.lora_down.weight": normal(N, R, 5, 3, 3),
        "lora_unet_mid_block_resnets_0_conv1.lora_up.weight": normal(N, 4, R, 1, 1, seed=1),
    }
    zoo = zoo_of(as_table(values))
    assert [layer.shape for layer in zoo.layout] == [(R, 45), (4, R)]
    assert_same_updates(zoo, lora_perf.load(as_folder(tmp_path / "zoo", values)))


# Tables that are none of adapters


def test_a_column_of_flat_rows_is_recognised() -> None:
    table = pa.table({"weights": lists([1.0] * 40, kind=pa.list_(pa.float32())), LABEL: ["a"]})
    refuses_table(table, r"a column for each factor.*; found weights, lists of numbers; cut them .*Zoo\.from_rows")


def test_a_table_of_a_column_a_number_is_recognised() -> None:
    table = pa.table({**{str(i): [0.5] for i in range(200)}, LABEL: ["a"]})
    refuses_table(table, "found 200 columns of single numbers")


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (pa.list_(pa.list_(pa.uint16())), "bfloat16 or float16 kept as their bits"),
        (pa.list_(pa.list_(pa.int8())), "quantised or 8-bit weights"),
        (pa.list_(pa.list_(pa.int64())), "whole numbers"),
        (pa.list_(pa.list_(pa.decimal128(9, 3))), "decimal128"),
        (pa.string(), "type string"),
    ],
    ids=str,
)
def test_weights_of_another_type_are_named(kind: pa.DataType, found: str) -> None:
    column = pa.array([None], kind)
    refuses_table(table_of({DOWN: column, UP: lists(GOOD)}), rf"in column {DOWN}; found .*{found}")


def test_a_table_in_memory_is_a_zoo() -> None:
    table = as_table({DOWN: normal(N, R, 5), UP: normal(N, 4, R)})
    expected = zoo_of(table).rows.numpy()
    assert_rows(lora_perf.load(table), expected)
    assert_rows(lora_perf.load(table.to_batches()[0]), expected)
