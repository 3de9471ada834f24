"""The representations of dW against the oracle that forms it; what they keep and what they ignore."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf.core.layout import Layout
from lora_perf.representations.updates.fixed import FixedVectors
from tests.oracles_dw import coupling_of_pair, signs, update, words
from tests.representations.updates import (
    FLOAT32_MAX,
    KINDS,
    NAMES,
    SHAPES,
    UPDATES,
    Shape,
    assert_close,
    expected,
    factors_of,
    features_of,
    layout_of,
    represented,
    unsigned,
    zoo_of,
)

every_update = pytest.mark.parametrize("representation", UPDATES)
SQUARE = [shape for shape in SHAPES if shape[0] == shape[2]]


def shapes_for(representation: str) -> list[Shape]:
    return SQUARE if representation == "layer_coupling" else list(SHAPES)


@pytest.mark.parametrize("kind", KINDS)
@every_update
def test_features_of_an_update_are_those_of_the_definition(representation: str, kind: str) -> None:
    for shape in shapes_for(representation):
        factors = factors_of(kind, shape)
        wanted = expected(representation, factors)
        if representation == "dw_canonical" and _ambiguous(wanted, factors[0].shape[0]):
            continue
        assert_close(features_of(representation, factors), wanted, representation)


def _ambiguous(wanted: dict[str, float], m: int) -> bool:
    """Whether two components of the canonical form are of nearly equal size, or beyond float32, which ends their entries."""
    left = np.array([value for name, value in wanted.items() if name[0] == "u"]).reshape(-1, m)
    squares = np.linalg.norm(left, axis=1) ** 2
    kept = squares[squares > 0]
    return bool(len(kept) > 1 and np.min(kept[:-1] / kept[1:]) < 1.001) or bool(np.abs(left).max() > FLOAT32_MAX)


@every_update
def test_wide_updates_are_those_of_the_definition(representation: str) -> None:
    shape = (1280, 16, 1280 if representation == "layer_coupling" else 768)
    factors = factors_of("trained", shape)
    assert_close(features_of(representation, factors), expected(representation, factors), representation)


@every_update
@pytest.mark.parametrize("factor", [0.5, -2.0, 1e-3, 1e30, 0.0])
def test_the_scale_multiplies_the_update(representation: str, factor: float) -> None:
    factors = factors_of("normal", (11, 3, 11))
    wanted = expected(representation, factors, float(np.float32(factor)))
    assert_close(features_of(representation, factors, factor), wanted, representation)


@every_update
def test_scales_belong_to_their_adapter_and_module(representation: str) -> None:
    rng = np.random.default_rng(4)
    adapters = [[factors_of("normal", shape, seed) for shape in ((6, 2, 6), (9, 2, 9), (6, 2, 6))] for seed in range(3)]
    scales = rng.uniform(0.5, 2, (3, 3)).astype(np.float32)
    found = represented(adapters, representation, scales)
    for row, adapter in enumerate(adapters):
        scaled = [[((up * factor).astype(np.float32), down) for (up, down), factor in zip(adapter, scales[row], strict=True)]]
        alone = represented(scaled, representation)
        assert alone.names == found.names
        pair = unsigned(representation, found.values[row]), unsigned(representation, alone.values[0])
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-5)


@every_update
def test_an_update_of_zero_has_finite_features(representation: str) -> None:
    found = features_of(representation, factors_of("zero_up", (12, 3, 12)))
    assert np.isfinite(list(found.values())).all()
    logs = {name for name in found if name.startswith("log")}
    assert {name for name, value in found.items() if value != 0} == logs


def test_rank_one_singular_values_are_products_of_lengths() -> None:
    up, down = factors_of("normal", (300, 1, 200))
    found = features_of("dw_spectrum", (up, down), -3.0)
    assert found["sv0"] == pytest.approx(3 * np.linalg.norm(up) * np.linalg.norm(down), rel=1e-6)
    assert (found["share0"], found["rank"], found["condition"]) == (1, 1, 1)


def test_singular_values_above_the_tolerance_keep_five_digits() -> None:
    """Down to twice the tolerance, also where the factors are a hundred times worse conditioned than the update."""
    rng = np.random.default_rng(1)
    m, r, k = 640, 16, 320
    left, right = (np.linalg.qr(rng.normal(size=(size, r)))[0] for size in (m, k))
    tolerance = m * float(np.finfo(np.float32).eps)
    turn = np.linalg.qr(rng.normal(size=(r, r)))[0] * np.geomspace(1, 100, r)
    up = (left * np.geomspace(1, 2 * tolerance, r)) @ turn
    down = np.linalg.inv(turn) @ right.T
    factors = up.astype(np.float32), down.astype(np.float32)
    found, wanted = features_of("dw_spectrum", factors), expected("dw_spectrum", factors)
    assert wanted["rank"] == r
    np.testing.assert_allclose([found[f"sv{i}"] for i in range(r)], [wanted[f"sv{i}"] for i in range(r)], rtol=1e-5)


def test_near_equal_singular_values_are_as_good_as_others() -> None:
    rng = np.random.default_rng(2)
    left, right = (np.linalg.qr(rng.normal(size=(size, 4)))[0] for size in (50, 40))
    factors = (left * (1 + 1e-6 * np.arange(4))).astype(np.float32), right.T.astype(np.float32)
    assert_close(features_of("dw_spectrum", factors), expected("dw_spectrum", factors), "dw_spectrum")


def test_energies_add_up_to_the_squared_norm() -> None:
    factors = factors_of("normal", (31, 5, 17))
    energy, norms = features_of("dw_energy", factors), features_of("dw_norms", factors)
    rows = sum(value for name, value in energy.items() if name.startswith("row"))
    assert rows == pytest.approx(sum(energy.values()) - rows, rel=1e-6)
    assert rows == pytest.approx(norms["frobenius"] ** 2, rel=1e-6)


def test_the_canonical_form_makes_the_update_again() -> None:
    m, r, k = 23, 4, 19
    factors = factors_of("normal", (m, r, k))
    found = np.array(list(features_of("dw_canonical", factors, -1.5).values()))
    left, right = found[: m * r].reshape(r, m), found[m * r :].reshape(r, k)
    np.testing.assert_allclose(left.T @ right, update(*factors, -1.5), atol=1e-5)


def test_the_canonical_form_of_near_equal_values_still_makes_the_update() -> None:
    rng = np.random.default_rng(2)
    up, down = (np.linalg.qr(rng.normal(size=(size, 4)))[0].astype(np.float32) for size in (50, 40))
    found = np.array(list(features_of("dw_canonical", (up, down.T)).values()))
    np.testing.assert_allclose(found[:200].reshape(4, 50).T @ found[200:].reshape(4, 40), up @ down.T, atol=1e-6)


def test_sketches_are_linear_in_the_update() -> None:
    """The sum of two updates has the factors of both side by side."""
    one, two = (factors_of("normal", (20, 3, 30), seed) for seed in (1, 2))
    both = np.hstack([one[0], -2 * two[0]]), np.vstack([one[1], two[1]])
    first, second, total = (np.array(list(features_of("dw_sketch", each).values())) for each in (one, two, both))
    np.testing.assert_allclose(total, first - 2 * second, atol=2e-5)


def test_inner_products_of_sketches_are_those_of_the_updates_in_expectation() -> None:
    """Over 400 modules of other names: the mean error shrinks with the root of their number."""
    names = [f"blocks.{i}.to_q" for i in range(400)]
    one, two = factors_of("normal", (24, 2, 18), 1), factors_of("normal", (24, 2, 18), 2)
    zoo = zoo_of([[one] * 400, [(one[0] + two[0], one[1])] * 400], names=names)
    sketches = lora_perf.represent(zoo, ["dw_sketch"])["dw_sketch"].values.double().unflatten(1, (400, 256))
    inner = (sketches[0] * sketches[1]).sum(dim=1)
    wanted = float(np.sum(update(*one) * update(one[0] + two[0], one[1])))
    spread = float(inner.std()) / 400**0.5
    assert spread < 0.1 * abs(wanted)
    assert abs(float(inner.mean()) - wanted) < 4 * spread


def test_fixed_vectors_follow_from_the_name_and_shape_alone() -> None:
    layout = layout_of([(10, 2, 9), (7, 2, 5)])
    both = FixedVectors(layout.modules[:1], torch.device("cpu")), FixedVectors(layout.modules[:1], torch.device("cpu"))
    assert torch.equal(both[0].left, both[1].left)
    np.testing.assert_array_equal(both[0].left[0].numpy(), signs(NAMES[0], "left", (10, 9), 10))
    np.testing.assert_array_equal(both[0].right[0].numpy(), signs(NAMES[0], "right", (10, 9), 9))
    poles = np.array([word / 2**63 - 1 for word in words(NAMES[0], "pole", (10, 9), 10)])
    np.testing.assert_allclose(both[0].poles[0].numpy(), poles, rtol=1e-15)


def test_fixed_vectors_are_the_same_on_every_machine() -> None:
    (module,) = Layout([("unet.a.to_q.lora.down.weight", (1, 3)), ("unet.a.to_q.lora.up.weight", (2, 1))]).modules
    fixed = FixedVectors([module], torch.device("cpu"))
    assert ["".join(map(str, row)) for row in (fixed.left[0] > 0).int().tolist()] == ["0001101110111000", "0011011000001101"]
    assert fixed.poles[0].tolist() == [-0.9871834309204847, 0.09722788004160865]


def test_wrappers_of_a_name_do_not_change_its_fixed_vectors() -> None:
    names = ("unet.a.to_q.lora.{}.weight", "base_model.model.a.to_q.lora.{}.weight", "a.to_k.lora.{}.weight")
    layouts = [Layout([(name.format("down"), (1, 30)), (name.format("up"), (20, 1))]) for name in names]
    one, two, other = (FixedVectors(layout.modules, torch.device("cpu")).left for layout in layouts)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("shape", [(12, 1, 12), (20, 3, 9), (15, 4, 15)])
def test_neighbours_are_coupled_as_the_definition_says(shape: Shape) -> None:
    one, two = factors_of("normal", shape, 1), factors_of("normal", shape, 2)
    two = two[0] + one[0], two[1]
    zoo = zoo_of([[one, two]], np.array([[2.0, -0.5]]))
    features = lora_perf.represent(zoo, ["layer_coupling"])["layer_coupling"]
    found = dict(zip(features.names, features.values[0].tolist(), strict=True))
    wanted = coupling_of_pair(update(*one, 2.0), update(*two, -0.5))
    title = f"unet.{NAMES[0]}~to_k"
    assert_close({name: found[f"{title}/{name}"] for name in wanted}, wanted, "layer_coupling")


@pytest.mark.parametrize("kind", KINDS)
def test_couplings_of_all_kinds_of_neighbours_are_finite_and_bounded(kind: str) -> None:
    pair = [factors_of(kind, (9, 3, 9), 1), factors_of("normal", (9, 3, 9), 2)]
    values = lora_perf.represent(zoo_of([pair]), ["layer_coupling"])["layer_coupling"].values
    assert bool((values.abs() <= 1).all())


def test_an_update_is_coupled_to_itself_fully() -> None:
    factors = factors_of("normal", (20, 3, 9))
    features = lora_perf.represent(zoo_of([[factors, factors]]), ["layer_coupling"])["layer_coupling"]
    assert features.values[0].tolist() == pytest.approx([1, 1, 1])


def test_a_symmetric_update_writes_where_it_reads() -> None:
    up, _ = factors_of("normal", (20, 3, 20))
    found = features_of("layer_coupling", (up, up.T))
    assert list(found.values()) == pytest.approx([1, 1, 1])


def test_roots_of_second_order_probes_tell_more_than_the_probes() -> None:
    """The numbers of the docstring: roots make .810 to .865 of digits, .955 to .980 of digits-shared."""
    from lora_perf.classifiers import CLASSIFIERS, Examples
    from lora_perf.core.split import make_split

    for name, rooted, squared in (("digits", 0.865, 0.81), ("digits-shared", 0.98, 0.955)):
        zoo = lora_perf.load(name)
        split = make_split(zoo.required_labels, zoo.classes, zoo.split)
        values = lora_perf.represent(zoo, ["dw_gram_probe"])["dw_gram_probe"].values
        for one, wanted in ((values, rooted), (values.abs() * values, squared)):
            found = CLASSIFIERS["ridge"].fit(Examples(one, split), zoo.required_labels, 10).predictions[0]
            assert float((found == zoo.required_labels[split.test]).double().mean()) == pytest.approx(wanted, abs=0.02)
