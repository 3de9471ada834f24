"""Faults of weights: numbers that are none, updates that are 0, repetitions, and how A began."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import ArrayRows, FloatRows, Zoo
from lora_perf.inspect import inspection
from lora_perf.representations.content import content_of
from lora_perf.representations.repeats import repeats_of
from tests.conftest import MakeZoo
from tests.inspect.collections import add, clean_folder, moved, only_problem, problems, turned, wide
from tests.io.adapters import Factors, save, tensors


def dw(zoo: Zoo, i: int) -> torch.Tensor:
    """dW of all modules of an adapter in float64, one after the other."""
    parts = []
    for j, module in enumerate(zoo.layout.modules):
        up, down = (zoo.rows[i, layer.columns].double().view(layer.shape) for layer in (module.up, module.down))
        parts.append((1.0 if zoo.scales is None else zoo.scales[i, j].double()) * (up @ down).flatten())
    return torch.cat(parts)


# NaN, infinity, zero


@pytest.mark.parametrize(("value", "what"), [(torch.nan, "NaN"), (torch.inf, "infinite")])
def test_a_weight_that_is_no_number_is_named(tmp_path: Path, value: float, what: str) -> None:
    clean_folder(tmp_path)
    made = wide(90)
    (module, (down, _)) = list(made.items())[2]
    down[1, 3] = value
    path = add(tmp_path, 90, made)
    found = inspection(tmp_path)
    text = only_problem(found, "non-finite")
    assert text == f"{path}: 1 of 80 entries {what} in {module}.lora.down.weight"
    assert all(torch.isfinite(torch.tensor(one.norm)) for one in found.kinds)


def test_large_finite_weights_are_no_problem(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    add(tmp_path, 90, {module: (down * 1e37, up) for module, (down, up) in wide(90).items()})
    assert problems(tmp_path) == []


@pytest.mark.parametrize(("side", "cause"), [(1, "every up (B) is 0"), (0, "every down (A) is 0")])
def test_an_adapter_that_changes_nothing_is_found_with_the_cause(tmp_path: Path, side: int, cause: str) -> None:
    clean_folder(tmp_path)
    made = wide(90)
    for sides in made.values():
        sides[side].zero_()
    add(tmp_path, 90, made)
    assert cause in only_problem(inspection(tmp_path), "zero")


def test_alphas_of_0_make_an_update_of_0(tmp_path: Path) -> None:
    content = tensors(wide(0), "kohya")
    alphas = {f"{name.partition('.')[0]}.alpha": torch.tensor(0.0) for name in content}
    path = save(tmp_path / "a.safetensors", content | alphas)
    assert "every scale s is 0" in only_problem(inspection(path), "zero")


def test_a_module_that_does_not_change_is_noted(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    made = wide(90)
    made[next(iter(made))][1].zero_()
    path = add(tmp_path, 90, made)
    found = inspection(tmp_path)
    assert [(one.kind, one.adapters) for one in found.notes] == [("zero modules", (path,))]
    assert {one.name: one.zeros for one in found.kinds}["attn1.to_q"] == 1
    assert found.problems == ()


def test_a_row_that_cannot_be_read_is_a_finding(tmp_path: Path, random_zoo: MakeZoo) -> None:
    class Failing(ArrayRows):
        def read(self, start: int, stop: int, out: FloatRows) -> None:
            if start <= 3 < stop:
                raise LoraPerfError(expected="row 3", found="an input/output error", fix="look at the disk")
            super().read(start, stop, out)

    zoo = random_zoo(7)
    failing = Zoo(Failing(zoo.rows.numpy()), zoo.layout, zoo.labels, zoo.classes)
    content = content_of(failing)
    assert {i: error.found for i, error in content.unread.items()} == {3: "an input/output error"}
    assert content.finite.tolist() == [i != 3 for i in range(7)]
    assert repeats_of(failing, content, 0.99) == []


# Repetitions


def test_each_kind_of_repetition_is_told_from_the_others(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    original = wide(4)
    copy = add(tmp_path, 90, original, dialect="kohya")
    gauge = add(tmp_path, 91, turned(original))
    near = add(tmp_path, 92, moved(original, 1e-3))
    add(tmp_path, 94, wide(94))
    found = inspection(tmp_path)
    first = "cat/4.safetensors"
    assert [(one.adapter, one.of, one.kind, one.same_class) for one in found.repeats] == [
        (copy, first, "identical", True),
        (near, first, "near", True),
        (gauge, first, "same dW", False),
    ]
    assert [one.kind for one in found.problems] == ["identical", "same dW", "near"]
    assert "1 of another class" in found.problems[1].text


def test_the_cosine_and_the_distance_of_a_near_one_are_those_of_dw(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(6)
    rows = torch.cat([zoo.rows, zoo.rows[2:3] * 1.02])
    rows[6] += 0.02 * torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(1))
    scales = torch.rand(7, 2, generator=torch.Generator().manual_seed(2)) + 0.5
    scales[6] = scales[2]
    zoo = Zoo.from_rows(rows, zoo.layout, torch.zeros(7), ["a"], scales=scales)
    (found,) = repeats_of(zoo, content_of(zoo), 0.99)
    first, second = dw(zoo, 2), dw(zoo, 6)
    assert (found.first, found.second, found.kind) == (2, 6, "near")
    assert found.cosine == pytest.approx(float(first @ second / (first.norm() * second.norm())), rel=1e-9)
    assert found.distance == pytest.approx(float((first - second).norm() / second.norm()), rel=1e-6)


def test_a_multiple_of_an_update_is_near_it_and_its_negative_is_not(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(4)
    scales = torch.tensor([1.0, 1, 1, 1, 3, -1])[:, None].expand(-1, 2)
    zoo = Zoo.from_rows(zoo.rows[[0, 1, 2, 3, 0, 0]], zoo.layout, torch.zeros(6), ["a"], scales=scales)
    (found,) = repeats_of(zoo, content_of(zoo), 0.99)
    assert (found.first, found.second, found.kind) == (0, 4, "near")
    assert found.cosine == pytest.approx(1)
    assert found.distance == pytest.approx(2 / 3)


def test_the_sign_of_a_scale_belongs_to_dw(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(2)
    rows = torch.cat([zoo.rows, zoo.rows[:1]])
    for module in zoo.layout.modules:
        rows[2, module.up.columns] *= -1
    zoo = Zoo.from_rows(rows, zoo.layout, torch.zeros(3), ["a"], scales=torch.tensor([[1.0, 1], [1, 1], [-1, -1]]))
    (found,) = repeats_of(zoo, content_of(zoo), 0.99)
    assert (found.first, found.second, found.kind) == (0, 2, "same dW")


def test_equal_rows_of_other_scales_are_not_identical(random_zoo: MakeZoo) -> None:
    rows = random_zoo(1).rows.repeat(2, 1)
    scales = torch.tensor([[1.0, 1.0], [1.0, 0.5]])
    zoo = Zoo.from_rows(rows, random_zoo(1).layout, torch.zeros(2), ["a"], scales=scales)
    assert [one.kind for one in repeats_of(zoo, content_of(zoo), 0.9999)] == []


def test_updates_below_the_threshold_are_left_out(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    add(tmp_path, 90, moved(wide(4), 0.1))
    (found,) = inspection(tmp_path, near=0.95).repeats
    assert 0.95 < found.cosine < 0.995
    assert inspection(tmp_path, near=0.995).repeats == ()


def test_a_chain_of_near_updates_is_found_link_by_link(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(2)
    steps = torch.linspace(0, 1, 40)[:, None]
    rows = zoo.rows[:1] * (1 - steps) + zoo.rows[1:] * steps
    zoo = Zoo.from_rows(rows, zoo.layout, torch.zeros(40), ["a"])
    found = repeats_of(zoo, content_of(zoo), 0.99)
    updates = torch.stack([dw(zoo, i) for i in range(40)])
    cosines = torch.nn.functional.normalize(updates, dim=1) @ torch.nn.functional.normalize(updates, dim=1).T
    assert [one.second for one in found] == [i for i in range(1, 40) if bool((cosines[i, :i] >= 0.99).any())]


@given(data=st.data())
@settings(max_examples=40)
def test_a_gauge_transform_is_always_found(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 4), "rank")
    sizes = data.draw(st.lists(st.tuples(st.integers(4, 12), st.integers(4, 12)), min_size=1, max_size=4), "sizes")
    shapes = []
    for i, (m, k) in enumerate(sizes):
        shapes += [(f"block.{i}.lora.down.weight", (rank, k)), (f"block.{i}.lora.up.weight", (m, rank))]
    layout = Layout(shapes)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31), "seed"))
    rows = torch.randn(5, layout.p, generator=generator) * 10.0 ** data.draw(st.integers(-6, 6), "size")
    which = data.draw(st.integers(0, 4), "which")
    made: Factors = {
        module.name: (
            rows[which, module.down.columns].view(module.down.shape),
            rows[which, module.up.columns].view(module.up.shape),
        )
        for module in layout.modules
    }
    other = turned(made, seed=data.draw(st.integers(0, 999), "gauge"))
    copy = torch.cat([side.flatten() for sides in other.values() for side in sides])
    zoo = Zoo.from_rows(torch.cat([rows, copy[None]]), layout, torch.zeros(6), ["a"])
    repeats = [(one.first, one.second, one.kind) for one in repeats_of(zoo, content_of(zoo), 0.999)]
    assert (which, 5, "same dW") in repeats


def test_zero_updates_are_not_near_each_other(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    for i in (90, 91):
        add(tmp_path, i, {module: (down, torch.zeros_like(up)) for module, (down, up) in wide(i).items()})
    assert [kind for kind, _ in problems(tmp_path)] == ["zero"]


# How A began


def shared(count: int, starts: int, modules: int = 4) -> list[Factors]:
    """Adapters whose A's began with one of some starts, in the first modules; in the others each has its own."""
    found = []
    for i in range(count):
        begun, own = wide(1000 + i % starts), wide(i)
        found.append(
            {
                module: (begun[module][0] + 0.2 * down if place < modules else down, up)
                for place, (module, (down, up)) in enumerate(own.items())
            }
        )
    return found


@pytest.mark.parametrize(
    ("starts", "modules", "verdict"),
    [(1, 4, "shared"), (24, 4, "per adapter"), (3, 4, "mixed"), (12, 4, "mixed"), (1, 2, "mixed")],
)
def test_the_beginning_of_a_is_told(tmp_path: Path, starts: int, modules: int, verdict: str) -> None:
    for i, made in enumerate(shared(24, starts, modules)):
        add(tmp_path, i, made)
    found = inspection(tmp_path)
    assert found.initial is not None
    assert found.initial.verdict == verdict
    assert found.problems == ()


def test_copies_say_nothing_of_the_beginning_of_a(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    for i in range(8):
        add(tmp_path, 90 + i, wide(i))
    found = inspection(tmp_path)
    assert found.initial is not None
    assert found.initial.related == 0


def test_mean_cosines_of_a_are_those_of_all_pairs(tmp_path: Path) -> None:
    for i, made in enumerate(shared(9, 2)):
        add(tmp_path, i, made)
    zoo = lora_perf.load(tmp_path)
    found = inspection(tmp_path)
    for one in found.kinds:
        (module,) = [module for module in zoo.layout.modules if module.name.endswith(one.name)]
        unit = torch.nn.functional.normalize(zoo.rows[:, module.down.columns].double(), dim=1)
        pairs = unit @ unit.T
        assert_close(torch.tensor(one.cosine, dtype=torch.float64), (pairs.sum() - 9) / 72, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "verdict"), [("digits", "per adapter"), ("digits-shared", "shared")])
def test_the_embedded_zoos_are_what_their_cards_say(name: str, verdict: str) -> None:
    found = inspection(name)
    assert found.initial is not None
    assert found.initial.verdict == verdict
    assert found.problems == ()
    assert found.split == {"train": 700, "validation": 100, "test": 200}
