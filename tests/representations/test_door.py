"""The door: users' functions are representations like any other, and what they get wrong is told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import lora_perf
from lora_perf import LoraPerfError, Zoo
from lora_perf.core.layout import Layer, Module
from lora_perf.representations import REPRESENTATIONS, Matrices, Modules, expand
from lora_perf.representations.cache import FeatureCache
from tests.conftest import MakeZoo

pytestmark = pytest.mark.usefixtures("own_registry")
SHAPES = (
    *(("a.to_q.lora.down.weight", (2, 5)), ("a.to_q.lora.up.weight", (4, 2))),
    *(("a.to_k.lora.down.weight", (2, 5)), ("a.to_k.lora.up.weight", (5, 2))),
)


@pytest.fixture
def zoo(random_zoo: MakeZoo) -> Zoo:
    return random_zoo(18, SHAPES)


def largest(x: Matrices) -> Tensor:
    return x.entries.abs().amax(dim=(1, 2))[:, None]


def test_a_function_of_matrices_makes_its_columns_of_every_layer(zoo: Zoo) -> None:
    assert lora_perf.representation("largest", features=("largest",))(largest) is largest
    found = lora_perf.represent(zoo, ["largest"], block_nbytes=4 * zoo.layout.p * 5)["largest"]
    assert found.names == tuple(f"{layer.name}/largest" for layer in zoo.layout)
    assert_close(found.values, torch.stack([zoo.layer(layer.name).abs().amax(dim=(1, 2)) for layer in zoo.layout], dim=1))


def test_features_may_follow_from_the_layer(zoo: Zoo) -> None:
    def sides(layer: Layer) -> list[str]:
        return [f"entry{i}" for i in range(layer.size)] if ".down." in layer.name else []

    @lora_perf.representation("downs", features=sides)
    def downs(x: Matrices) -> Tensor:
        return x.entries.flatten(1)

    found = lora_perf.represent(zoo, ["stats", "downs"])["downs"]
    assert_close(found.values, torch.cat([zoo.layer(layer.name).flatten(1) for layer in zoo.layout.group("down")], dim=1))
    assert_close(found.select(zoo.layout.layers[:2]).values, found.values[:, :10])
    with pytest.raises(LoraPerfError, match="layers that downs can be made of"):
        lora_perf.represent(zoo, ["downs"], layers=zoo.layout.group("up"))


def test_a_function_of_updates_makes_its_columns_of_every_module(zoo: Zoo) -> None:
    def rows(module: Module) -> list[str]:
        return [f"row{i}" for i in range(module.shape[0])]

    @lora_perf.representation("energies", of="updates", features=rows)
    def energies(x: Modules) -> Tensor:
        return x.row_energies

    ranks = torch.tensor([[1, 2]] * 18)
    mixed = Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, ranks=ranks)
    found = lora_perf.represent(mixed, ["energies"], block_nbytes=4 * zoo.layout.p * 5)["energies"]
    formed = [torch.matmul(*zoo.module(module.name)).square().sum(dim=2) for module in zoo.layout.modules]
    assert_close(found.values, torch.cat(formed, dim=1))


def test_a_fit_sees_the_train_rows_alone(zoo: Zoo) -> None:
    seen: list[tuple[Tensor, int]] = []

    @lora_perf.representation("centred", of="train")
    def centred(rows: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
        seen.append((rows, seed))
        return lambda x: x.double() - rows.mean(dim=0)

    train, layers = torch.tensor([4, 2, 9]), zoo.layout.group("down")
    found = lora_perf.represent(zoo, ["centred"], layers=layers, train=train, seed=3)["centred"]
    chosen = torch.cat([zoo.rows[:, layer.columns] for layer in layers], dim=1)
    assert_close(found.values, (chosen.double() - chosen[train].mean(dim=0)).float())
    assert_close(seen[0][0], chosen[[2, 4, 9]])
    assert (len(seen), seen[0][1]) == (1, 3)
    with pytest.raises(LoraPerfError, match="no number of dimensions for centred; found 2"):
        lora_perf.represent(zoo, ["centred"], dimensions=2)


def test_users_representations_are_a_set() -> None:
    for name in ("one", "two"):
        lora_perf.representation(name, features=("x",))(lambda x: x)
    assert expand(["users", "stats"]) == ("one", "two", "stats")
    with pytest.raises(LoraPerfError, match=r"a set of them \(ten, dw, learned, users\); found 'rank'"):
        expand(["rank"])


def test_a_name_is_given_once() -> None:
    for taken in ("stats", "pca", "rank"):
        with pytest.raises(LoraPerfError, match=f"a new name for a representation; found '{taken}', which is taken"):
            lora_perf.representation(taken, features=("x",))(largest)
    for taken in ("ten", "users", "controls"):
        with pytest.raises(LoraPerfError, match=f"found '{taken}', the name of a set"):
            lora_perf.representation(taken, features=("x",))
    lora_perf.representation("mine", features=("x",))(largest)
    lora_perf.representation("mine", features=("x", "y"))(largest)  # the same function again, as from a cell of a notebook
    with pytest.raises(LoraPerfError, match="found 'mine', which is taken"):
        lora_perf.representation("mine", features=("x",))(lambda x: x)


@pytest.mark.parametrize(
    ("settings", "telling"),
    [
        ({}, "the names of the features of mine; found features=None"),
        ({"of": "train", "features": ("x",)}, "no names of features for mine"),
        ({"features": "xyz"}, "different texts as names .* found 'xyz'; write features"),
        ({"features": ("x", "x")}, "different texts as names .* found 'x', 'x'"),
        ({"features": (1, 2)}, "different texts as names .* found 1, 2"),
        ({"features": 3}, "different texts as names of the features of mine; found 3"),
        ({"of": "layers", "features": ("x",)}, "factors, updates or train as `of`; found 'mine' and 'layers'"),
    ],
)
def test_settings_that_cannot_be_are_told(settings: dict[str, Any], telling: str) -> None:
    with pytest.raises(LoraPerfError, match=telling):
        lora_perf.representation("mine", **settings)(largest)


def test_a_decorator_without_a_name_is_told() -> None:
    with pytest.raises(LoraPerfError, match=r'write @lora_perf.representation\("name"'):
        lora_perf.representation(largest)  # type: ignore[arg-type] # the mistake


MARK = 77.0


def nan_where_marked(x: Any) -> Tensor:
    entries = x.entries if isinstance(x, Matrices) else x.down
    marked = (entries == MARK).flatten(1).any(dim=1)
    return torch.stack([torch.zeros(len(entries)), torch.zeros(len(entries)).masked_fill(marked, torch.nan)], dim=1)


@pytest.mark.parametrize(
    ("function", "telling"),
    [
        (lambda x: None, r"a tensor \(\d+, 2\) of real numbers from the function of mine; found NoneType"),
        (lambda x: x.entries.sum(dim=2).numpy(), "from the function of mine; found ndarray"),
        (lambda x: x.entries.sum(), r"found shape \(\) of torch.float32"),
        (lambda x: torch.zeros((len(x.entries), 3)), r"found shape \(\d+, 3\) of torch.float32"),
        (lambda x: torch.zeros((3, 2)), r"found shape \(3, 2\)"),
        (lambda x: torch.zeros((len(x.entries), 2), dtype=torch.complex64), r"found shape \(\d+, 2\) of torch.complex64"),
        (nan_where_marked, r"finite features .* found NaN in column 1 for adapter 17, layer a\.to_k\.lora\.down\.weight"),
        (
            lambda x: torch.full((len(x.entries), 2), 1e39, dtype=torch.float64),
            r"found infinity in column 0 for adapter \d+, layer a\.",
        ),
    ],
)
def test_what_a_function_of_matrices_makes_is_checked(function: Callable[[Matrices], Any], telling: str, zoo: Zoo) -> None:
    zoo.rows[17, zoo.layout.group("down")[1].start] = MARK
    lora_perf.representation("mine", features=("x", "y"))(function)
    with pytest.raises(LoraPerfError, match=telling):
        lora_perf.represent(zoo, ["mine"], layers=zoo.layout.group("down"))


def test_what_functions_of_updates_and_fits_make_is_checked(zoo: Zoo) -> None:
    lora_perf.representation("mine", of="updates", features=("x", "y"))(nan_where_marked)
    zoo.rows[17, zoo.layout.group("down")[1].start] = MARK
    with pytest.raises(LoraPerfError, match=r"found NaN in column 1 for adapter 17, module a\.to_k"):
        lora_perf.represent(zoo, ["mine"])
    fits: list[tuple[Callable[..., Any], str]] = [
        (lambda rows, seed: rows, "a function of rows .* from the function of fit0; found Tensor"),
        (lambda rows, seed: lambda x: x[:, 0], r"a tensor \(18, d\) .* found shape \(18,\)"),
        (lambda rows, seed: lambda x: x.masked_fill(x == zoo.rows[16, 0], torch.nan), "NaN in column 0 for adapter 16"),
    ]
    for i, (fit, telling) in enumerate(fits):
        lora_perf.representation(f"fit{i}", of="train")(fit)
        with pytest.raises(LoraPerfError, match=telling):
            lora_perf.represent(zoo, [f"fit{i}"])


def test_layers_of_one_shape_have_as_many_features(zoo: Zoo) -> None:
    lora_perf.representation("mine", features=lambda layer: [str(i) for i in range(1 + ("to_k" in layer.name))])(largest)
    with pytest.raises(
        LoraPerfError, match="as many features of mine for all layers of one shape, also transposed; found 1, 2"
    ):
        lora_perf.represent(zoo, ["mine"])


@pytest.mark.parametrize("of", ["factors", "updates", "train"])
def test_an_exception_passes_through_and_says_whose_it_is(of: Any, zoo: Zoo) -> None:
    def broken(*_: Any) -> Tensor:
        raise ZeroDivisionError("mine")

    lora_perf.representation("broken", of=of, features=None if of == "train" else ("x",))(broken)
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        lora_perf.represent(zoo, ["broken"])
    assert [f"{__name__}.test_an" in note and note.endswith("representation broken") for note in caught.value.__notes__] == [
        True
    ]
    assert caught.traceback[-1].name == "broken"


@pytest.mark.parametrize("of", ["factors", "updates", "train"])
def test_what_is_no_function_is_refused(of: Any) -> None:
    with pytest.raises(LoraPerfError, match="a function for the representation odd; found a value of type int"):
        lora_perf.representation("odd", of=of, features=None if of == "train" else ("x",))(3)  # type: ignore[type-var]


def test_no_feature_at_all_is_refused() -> None:
    with pytest.raises(LoraPerfError, match="at least one feature of odd; found none"):
        lora_perf.representation("odd", features=())(largest)


@pytest.mark.parametrize(
    ("made", "found"),
    [(Tensor.to_sparse, "one of layout torch.sparse_coo"), (lambda x: x.to("meta"), "one on the device meta")],
)
def test_tensors_that_hold_no_plain_values_are_refused(made: Any, found: str, zoo: Zoo) -> None:
    lora_perf.representation("odd", features=("x",))(lambda x: made(x.entries[:, 0, :1]))
    with pytest.raises(LoraPerfError, match=f"from the function of odd; found {found}"):
        lora_perf.represent(zoo, ["odd"])


def test_what_a_function_writes_into_does_not_reach_others(zoo: Zoo) -> None:
    @lora_perf.representation("vandal", features=("x",))
    def vandal(x: Matrices) -> Tensor:
        x.entries.zero_()
        x.sorted.zero_()
        return x.entries[:, 0, :1]

    rows = zoo.rows.clone()
    alone = lora_perf.represent(zoo, ["stats"])["stats"]
    assert_close(lora_perf.represent(zoo, ["vandal", "stats"])["stats"].values, alone.values, rtol=0, atol=0)
    assert torch.equal(zoo.rows, rows)


def test_an_edit_in_place_is_another_version(zoo: Zoo, tmp_path: Path) -> None:
    kept, layers, cpu = FeatureCache(tmp_path), zoo.layout.layers, torch.device("cpu")

    def cell(factor: str) -> None:
        """What a cell of a notebook does."""
        text = f"def scaled(x):\n    return x.mean[:, None] * {factor}\n"
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(text, names)
        lora_perf.representation("scaled", features=("mean",))(names["scaled"])

    lora_perf.representation("of_layers", features=lambda layer: ["x"] if ".down." in layer.name else [])(largest)
    of_downs = kept.place(zoo, REPRESENTATIONS["of_layers"], layers, cpu)
    lora_perf.representation("of_layers", features=lambda layer: ["x"] if ".up." in layer.name else [])(largest)
    assert kept.place(zoo, REPRESENTATIONS["of_layers"], layers, cpu) != of_downs
    cell("2")
    kept.save(zoo, "scaled", layers, lora_perf.represent(zoo, ["scaled"])["scaled"])
    cell("2")
    assert kept.load(zoo, "scaled", layers, cpu) is not None
    cell("3")
    assert kept.load(zoo, "scaled", layers, cpu) is None
