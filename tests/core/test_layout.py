from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout, parse_name
from lora_perf.core.names import Side

BLOCK = "down_blocks.0.attentions.1.transformer_blocks.0"


def sd_layout(prefix: str = "unet.", ending: str = ".lora.{}.weight") -> Layout:
    """A down block, the mid block and an up block with to_q and to_v of both attentions, rank 1."""
    shapes = []
    for block in (BLOCK, "mid_block.attentions.0.transformer_blocks.0", "up_blocks.1.attentions.2.transformer_blocks.0"):
        for attention in ("attn1", "attn2"):
            for projection in ("to_q", "to_v"):
                module = f"{prefix}{block}.{attention}.{projection}"
                shapes.append((module + ending.format("down"), (1, 12 if projection == "to_v" else 8)))
                shapes.append((module + ending.format("up"), (8, 1)))
    return Layout(shapes)


@pytest.mark.parametrize(
    ("name", "module", "side"),
    [
        (f"unet.{BLOCK}.attn1.to_q.lora.down.weight", f"unet.{BLOCK}.attn1.to_q", "down"),
        (f"{BLOCK}.attn1.to_q.lora.up.weight", f"{BLOCK}.attn1.to_q", "up"),
        (f"unet.{BLOCK}.attn1.processor.to_q_lora.down.weight", f"unet.{BLOCK}.attn1.processor.to_q", "down"),
        (f"unet.{BLOCK}.attn1.processor.to_out_lora.up.weight", f"unet.{BLOCK}.attn1.processor.to_out", "up"),
        (f"unet.{BLOCK}.attn2.to_k.lora_A.weight", f"unet.{BLOCK}.attn2.to_k", "down"),
        (f"unet.{BLOCK}.attn2.to_k.lora_B.weight", f"unet.{BLOCK}.attn2.to_k", "up"),
        (f"base_model.model.{BLOCK}.attn2.to_v.lora_A.default.weight", f"base_model.model.{BLOCK}.attn2.to_v", "down"),
        (f"base_model.model.{BLOCK}.attn2.to_v.lora_B.my-style_2.weight", f"base_model.model.{BLOCK}.attn2.to_v", "up"),
        ("lora_unet_up_blocks_1_attn1_to_q.lora_down.weight", "lora_unet_up_blocks_1_attn1_to_q", "down"),
        ("lora_te1_text_model_q_proj.lora_up.weight", "lora_te1_text_model_q_proj", "up"),
        ("down_blocks.0.lora.up.weight", "down_blocks.0", "up"),
        ("up_blocks.1.lora.down.weight", "up_blocks.1", "down"),
    ],
)
def test_a_name_of_each_dialect_gives_its_module_and_side(name: str, module: str, side: Side) -> None:
    assert parse_name(name) == (module, side)


@pytest.mark.parametrize(
    "name",
    [
        "unet.attn1.to_q.weight",
        "unet.attn1.to_q.lora.down.bias",
        "unet.attn1.to_q.lora.mid.weight",
        "unet.attn1.to_q.lora.down.weight.more",
        "lora_unet_to_q.alpha",
        "lora_unet_to_q.hada_w1_a",
        "lora_unet_to_q.lokr_w1",
        "lora_unet_to_q.dora_scale",
        "base_model.model.q.lora_magnitude_vector.weight",
        "lora.down.weight",
        ".lora.down.weight",
        "category_label",
        "",
    ],
)
def test_a_name_that_is_no_factor_of_a_product_is_none(name: str) -> None:
    assert parse_name(name) is None


def test_layers_stand_one_after_the_other_in_the_row() -> None:
    layout = Layout([("a.lora.down.weight", (2, 3)), ("a.lora.up.weight", (4, 2)), ("b.lora.down.weight", (1, 5))])
    assert [(layer.columns, layer.size, layer.rank) for layer in layout] == [
        (slice(0, 6), 6, 2),
        (slice(6, 14), 8, 2),
        (slice(14, 19), 5, 1),
    ]
    assert (layout.p, len(layout)) == (19, 3)
    assert repr(Layout([("a.lora.up.weight", (2000, 1))])) == "Layout(1 layers, 2,000 parameters)"


@pytest.mark.parametrize(
    ("prefix", "ending"),
    [
        ("unet.", ".lora.{}.weight"),
        ("", ".lora.{}.weight"),
        ("base_model.model.", ".lora_{}.weight"),
        ("base_model.model.unet.", ".lora_{}.weight"),
    ],
)
def test_the_path_leaves_out_what_only_wraps_the_module(prefix: str, ending: str) -> None:
    assert sd_layout(prefix, ending).layers[0].path == (*BLOCK.split("."), "attn1", "to_q")
    layout = Layout([("unet.mid_block.attn1.processor.to_q_lora.down.weight", (1, 2))])
    assert layout.layers[0].path == ("mid_block", "attn1", "to_q")


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ([("unet.conv.weight", (2, 2))], r"expected layer names that end in .*found 'unet\.conv\.weight'"),
        *(
            ([("a.lora.down.weight", shape)], r"a matrix of at least one row and one column for a\.lora.*found shape")
            for shape in ((0, 2), (2, 0), (-1, 2), (3,), (1, 2, 3), ())
        ),
        ([], "expected at least one layer; found none"),
        ([("a.lora.down.weight", (1, 2))] * 2, "expected layer names that differ; found 1 repeated"),
    ],
)
def test_what_is_no_layout_is_refused(shapes: list[tuple[str, tuple[int, int]]], told: str) -> None:
    with pytest.raises(LoraPerfError, match=told):
        Layout(shapes)


def test_a_layer_is_found_by_its_name_and_an_unknown_one_is_refused() -> None:
    layout = sd_layout()
    assert all(layout[layer.name] is layer for layer in layout)
    with pytest.raises(LoraPerfError, match=r"one of the 24 layers \(unet\.down_blocks.*24 in all\)\); found 'to_q'"):
        sd_layout()["to_q"]


@pytest.mark.parametrize("prefix", ["unet.", "", "base_model.model."])
@pytest.mark.parametrize(
    ("group", "part", "number"),
    [
        ("all", "", 24),
        ("visual", ".attn1.", 12),
        ("attn1", ".attn1.", 12),
        ("text", ".attn2.", 12),
        ("attn2", ".attn2.", 12),
        ("attn2.to_v", ".attn2.to_v.", 6),
        ("to_q", ".to_q.", 12),
        ("up", ".lora.up.", 12),
        ("down", ".lora.down.", 12),
        ("up_blocks", "up_blocks.", 8),
        ("down_blocks", "down_blocks.", 8),
        ("down_blocks.0", "down_blocks.0.", 8),
        ("mid_block", "mid_block.", 8),
        ("mid_block.attentions.0.transformer_blocks.0.attn1", "mid_block.attentions.0.transformer_blocks.0.attn1.", 4),
    ],
)
def test_a_group_is_the_layers_whose_name_holds_its_part(prefix: str, group: str, part: str, number: int) -> None:
    layout = sd_layout(prefix)
    found = [layer.name for layer in layout.group(group)]
    assert found == [layer.name for layer in layout if part in layer.name]
    assert len(found) == number


def test_the_sides_are_no_blocks() -> None:
    layout = sd_layout()
    assert {layer.path[0] for layer in layout.group("up")} == {"down_blocks", "mid_block", "up_blocks"}
    assert {layer.side for layer in layout.group("up_blocks")} == {"up", "down"}


@pytest.mark.parametrize(
    "group", ["vision", "", "attn", "attn2.to", "o_v", "to_v.attn2", "unet", "lora", "down_blocks.1", "All"]
)
def test_an_unknown_group_is_refused_and_the_known_ones_are_listed(group: str) -> None:
    known = (
        r"all, visual, text, down, up, attn1\.to_q, attn1\.to_v, attn2\.to_q, attn2\.to_v, down_blocks, mid_block, up_blocks"
    )
    with pytest.raises(LoraPerfError, match=rf"a layer group of this zoo \({known}\); found '{group}'"):
        sd_layout().group(group)


@pytest.mark.parametrize("layout", [sd_layout(), sd_layout(""), Layout([("a.lora.up.weight", (1, 1))])])
def test_every_offered_group_has_layers(layout: Layout) -> None:
    for name in layout.group_names:
        assert layout.group(name)


def test_a_zoo_of_one_side_offers_no_group_for_the_other() -> None:
    layout = Layout([("x.attn1.q.lora.up.weight", (1, 1))])
    assert layout.group_names == ("all", "visual", "up", "attn1.q", "x")


def test_indices_are_places_in_the_layout() -> None:
    layout = sd_layout()
    assert layout.indices(layout.group("mid_block")) == tuple(range(8, 16))


names = st.lists(st.from_regex(r"[a-z]{1,4}(\.[a-z0-9_]{1,4}){0,2}", fullmatch=True), min_size=1, max_size=6, unique=True)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(names=names, data=st.data())
def test_json_gives_the_same_layout_back(names: list[str], data: st.DataObject) -> None:
    layout = Layout([(f"{name}.lora.down.weight", data.draw(sizes)) for name in names])
    again = Layout.from_json(layout.to_json())
    assert again == layout
    assert hash(again) == hash(layout)


def test_layouts_of_another_shape_or_order_differ() -> None:
    a, b = ("a.lora.up.weight", (2, 1)), ("b.lora.up.weight", (2, 1))
    assert Layout([a, b]) != Layout([b, a])
    assert Layout([a]) != Layout([(a[0], (1, 2))])
    assert Layout([a]) != "a.lora.up.weight"


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "5", "{}x", "[1]", '["abc"]', '{"abc": 1}', "[" * 100_000),
        '[["a.lora.up.weight", 1]]',
        '[["a.lora.up.weight", "x", 1]]',
        '[["a.lora.up.weight", null, 1]]',
        '[["a.lora.up.weight", NaN, 1]]',
        '[["a.lora.up.weight", Infinity, 1]]',
    ],
    ids=lambda text: text[:40] or "empty",
)
def test_text_that_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises(LoraPerfError, match=r"expected a layout as \[\[name, rows, columns\], \.\.\.\]; found"):
        Layout.from_json(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_no_json_makes_the_reader_crash(value: object) -> None:
    with pytest.raises(LoraPerfError):
        Layout.from_json(json.dumps(value))


def test_chosen_layers_stand_in_layout_order_each_once() -> None:
    layout = sd_layout()
    assert layout.choose(None) == layout.layers
    assert layout.choose([layout.layers[3], layout.layers[0], layout.layers[3]]) == (layout.layers[0], layout.layers[3])


def test_no_layer_and_layers_of_another_layout_cannot_be_chosen() -> None:
    with pytest.raises(LoraPerfError, match="found none"):
        sd_layout().choose([])
    with pytest.raises(LoraPerfError, match="found 1 of another zoo"):
        sd_layout().choose([sd_layout().layers[0], sd_layout(prefix="te.").layers[0]])


def test_markup_in_names_is_text_in_a_notebook() -> None:
    shown = Layout([("<script>.lora.down.weight", (1, 2))])._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
