from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from lora_perf.core.zoo import Zoo
from lora_perf.zoos.synthetic import CLASSES, SyntheticConfig, SyntheticRows, generate, layout_of, stream
from tests.zoos.synthetic import TINY, sd15

# Layout


def test_the_sd15_layout_has_the_sizes_of_the_original() -> None:
    layout = layout_of(sd15())
    assert (len(layout), layout.p) == (128, 99_648)
    sizes = {group: sum(layer.size for layer in layout.group(group)) for group in ("visual", "text", "down", "up")}
    assert sizes == {"visual": 49_920, "text": 49_728, "down": 49_728, "up": 49_920}


def test_the_sd15_layout_has_sixteen_blocks_of_the_widths_of_the_unet() -> None:
    layout = layout_of(sd15())
    widths = {layer.module.split(".transformer_blocks")[0]: layer.shape[0] for layer in layout if layer.side == "up"}
    assert Counter(widths.values()) == {320: 5, 640: 5, 1280: 6}
    assert widths["unet.down_blocks.0.attentions.1"] == 320
    assert widths["unet.down_blocks.2.attentions.0"] == 1280
    assert widths["unet.mid_block.attentions.0"] == 1280
    assert widths["unet.up_blocks.1.attentions.2"] == 1280
    assert widths["unet.up_blocks.3.attentions.0"] == 320
    assert len(widths) == 16


def test_names_and_shapes_are_those_of_the_original() -> None:
    layout = layout_of(sd15(rank=4))
    block = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
    assert layout[f"{block}.attn1.to_q.lora.down.weight"].shape == (4, 320)
    assert layout[f"{block}.attn1.to_v.lora.up.weight"].shape == (320, 4)
    assert layout[f"{block}.attn2.to_q.lora.down.weight"].shape == (4, 320)
    reads_text = [layer.shape for layer in layout.group("attn2.to_v") if layer.side == "down"]
    assert reads_text == [(4, 768)] * 16
    assert layout.p == 4 * 99_648
    tiny = layout_of(TINY)
    assert tiny.group_names == layout.group_names
    assert max(max(layer.shape) for layer in tiny) == 16


# Content


def test_a_seed_gives_one_zoo_and_another_seed_another() -> None:
    assert generate(TINY).fingerprint == generate(TINY).fingerprint
    assert generate(TINY).fingerprint != generate(replace(TINY, seed=6)).fingerprint


@given(adapters=st.integers(3, 60), nbytes=st.integers(1, 60_000), seed=st.integers(0, 9))
def test_streamed_rows_do_not_depend_on_the_blocks(adapters: int, nbytes: int, seed: int) -> None:
    config = replace(TINY, adapters=adapters, seed=seed)
    blocks = [block.clone() for _, block in stream(config).blocks(nbytes)]
    assert_close(torch.cat(blocks), generate(config).rows, rtol=0, atol=0)


def test_any_part_can_be_read_alone_and_across_the_blocks_that_were_made() -> None:
    config = replace(TINY, adapters=2500)
    rows, source = generate(config).rows.numpy(), stream(config).source
    for start, stop in ((2400, 2500), (1000, 1100), (1024, 1025), (0, 2048), (7, 8)):
        out = np.empty((stop - start, source.p), np.float32)
        source.read(start, stop, out)
        np.testing.assert_array_equal(out, rows[start:stop])


def test_class_signals_do_not_depend_on_the_number_of_adapters() -> None:
    few, many = (stream(replace(TINY, adapters=n)).source for n in (10, 500))
    assert isinstance(few, SyntheticRows)
    assert isinstance(many, SyntheticRows)
    np.testing.assert_array_equal(few._directions, many._directions)
    np.testing.assert_array_equal(few._log_strengths, many._log_strengths)


def test_labels_are_balanced_and_shuffled() -> None:
    labels = generate(TINY).labels
    assert sorted(torch.bincount(labels).tolist()) == [13, 13, 14]
    assert labels.tolist() != sorted(labels.tolist())
    assert labels.tolist() != [i % 3 for i in range(40)]


def test_class_names_are_the_first_of_the_original_in_sorted_order() -> None:
    assert generate(TINY).classes == ["airplane", "bird", "cat"]
    assert generate(replace(TINY, classes=4)).classes == ["airplane", "bird", "car", "cat"]
    many = generate(replace(TINY, classes=12)).classes
    assert many == sorted([*CLASSES, "class_10", "class_11"])


@pytest.mark.parametrize("config", [TINY, replace(TINY, layout="sd15", rank=1, adapters=20)])
def test_entries_look_like_lora_weights(config: SyntheticConfig) -> None:
    zoo = generate(config)
    assert torch.isfinite(zoo.rows).all()
    for layer in zoo.layout:
        std = zoo.layer(layer.name).std().item()
        if layer.side == "down":
            assert std == pytest.approx(layer.shape[1] ** -0.5, rel=0.15)
        else:
            assert 0.005 < std < 0.05


@pytest.fixture(scope="module")
def signal_zoo() -> Zoo:
    return generate(SyntheticConfig(Path("unused"), adapters=600, layout="tiny", classes=5))


def probe(features: torch.Tensor, labels: torch.Tensor) -> float:
    """Accuracy on the last third of a ridge classifier trained on the rest."""
    x = torch.nn.functional.normalize(features.double() - features[:400].double().mean(0), dim=0)
    y = torch.nn.functional.one_hot(labels).double() - 1 / 5
    weights = torch.linalg.solve(x[:400].T @ x[:400] + 0.3 * torch.eye(x.shape[1]), x[:400].T @ y[:400])
    return float(((x[400:] @ weights).argmax(1) == labels[400:]).double().mean())


def test_norms_tell_the_classes_apart_but_not_fully(signal_zoo: Zoo) -> None:
    norms = torch.stack([signal_zoo.layer(layer.name).flatten(1).norm(dim=1).log() for layer in signal_zoo.layout], 1)
    assert 0.35 < probe(norms, signal_zoo.labels) < 0.95  # chance is 0.2


def test_products_tell_the_classes_apart_while_flat_factors_do_not(signal_zoo: Zoo) -> None:
    products = []
    for module in dict.fromkeys(layer.module for layer in signal_zoo.layout):
        up, down = signal_zoo.module(module)
        products.append(torch.nn.functional.normalize((up @ down).flatten(1)))
    flat = torch.cat([torch.nn.functional.normalize(signal_zoo.layer(layer.name).flatten(1)) for layer in signal_zoo.layout], 1)
    assert 0.35 < probe(torch.cat(products, 1), signal_zoo.labels) < 0.99
    assert probe(flat, signal_zoo.labels) < 0.32


def test_a_class_has_its_own_shape_of_entries() -> None:
    zoo = generate(SyntheticConfig(Path("unused"), adapters=2000, layout="sd15", classes=2, layers=2))
    up = zoo.layer(zoo.layout.layers[1].name).flatten(1).double()
    kurtosis = ((up - up.mean(1, keepdim=True)) ** 4).mean(1) / up.var(1, correction=0) ** 2
    a, b = (kurtosis[zoo.labels == label] for label in (0, 1))
    standard_error = (a.var() / len(a) + b.var() / len(b)).sqrt()
    assert abs(a.mean() - b.mean()) > 4 * standard_error
