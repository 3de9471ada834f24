"""The embedded zoo of digits and the program that trains it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.io.store import open_packed, verify
from lora_perf.zoos import EMBEDDED
from lora_perf.zoos.denoiser import DIGITS, NEUTRAL, PIXELS, Denoiser, Projection, pretrain, prompt
from lora_perf.zoos.digits import command, main, make
from lora_perf.zoos.training import MODULES, Config, draw_plan, factors_of, fine_tune, initial_rows, layout, parts, read_digits

TINY = Config(Path("tiny.safetensors"), adapters=50, steps=2, draws=1, base_steps=3, base_batch=8)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads only get in each other's way on models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base() -> Denoiser:
    digits = read_digits(0)
    return pretrain(
        digits.pixels, digits.labels, steps=5, batch=16, rate=1e-2, neutral_share=0.2, seed=0, say=lambda line: None
    )


@pytest.fixture(scope="module", params=sorted(EMBEDDED))
def embedded(request: pytest.FixtureRequest) -> tuple[Path, Zoo]:
    path = EMBEDDED[request.param]
    return path, open_packed(path)


def test_the_embedded_zoos_have_the_names_they_are_found_by_and_take_six_megabytes_at_most() -> None:
    assert {name: open_packed(path).name for name, path in EMBEDDED.items()} == {name: name for name in EMBEDDED}
    assert sum(path.stat().st_size for path in EMBEDDED.values()) <= 6_000_000


def test_an_embedded_zoo_is_whole_balanced_and_split_70_10_20_within_each_digit(embedded: tuple[Path, Zoo]) -> None:
    _, zoo = embedded
    assert zoo.split is not None
    counts = torch.zeros(10, 3, dtype=torch.int64).index_put_((zoo.labels, zoo.split), torch.tensor(1), accumulate=True)
    each = len(zoo) // 10
    assert len(zoo) >= 1000
    torch.testing.assert_close(counts, torch.tensor([[each * 7 // 10, each // 10, each * 2 // 10]]).expand(10, 3))
    torch.testing.assert_close(zoo.labels, torch.arange(len(zoo)) % 10)  # so any run of rows is balanced
    smallest = torch.stack([zoo.layer(layer.name).abs().amax((1, 2)) for layer in zoo.layout]).min().item()
    assert smallest > 0
    assert torch.isfinite(zoo.rows).all().item() is True


def test_an_embedded_zoo_has_the_layer_groups_of_the_field(embedded: tuple[Path, Zoo]) -> None:
    layers = embedded[1].layout
    assert layers == layout(1)
    assert "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight" in {
        layer.name for layer in layers
    }
    sizes = {name: sum(layer.size for layer in layers.group(name)) for name in ("visual", "text", "up", "down", "mid_block")}
    assert sizes == {"visual": 384, "text": 336, "up": 384, "down": 336, "mid_block": 240}
    assert layers.p == 720


def test_only_digits_shared_starts_from_one_a() -> None:
    # The mean of unit vectors: near 1 where they share a direction, near 1 / sqrt(n) where each has its own.
    name = layout(1).group("down")[0].name
    likeness = {}
    for key, path in EMBEDDED.items():
        directions = torch.nn.functional.normalize(open_packed(path).layer(name).flatten(1).double(), dim=1)
        likeness[key] = directions.mean(0).norm().item()
    assert likeness["digits-shared"] > 0.5
    assert likeness["digits"] < 0.2


def test_the_card_of_an_embedded_zoo_belongs_to_it(embedded: tuple[Path, Zoo]) -> None:
    path, zoo = embedded
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["fingerprint"] == verify(path)
    assert (card["name"], card["n"], card["p"], card["nbytes"]) == (zoo.name, len(zoo), zoo.layout.p, path.stat().st_size)
    assert card["made_by"] == command(Config(path, shared_a=zoo.name == "digits-shared"))
    assert card["improved_share"] > 0.99
    assert card["loss"]["adapted"] < card["loss"]["base"]


def test_the_same_command_writes_the_same_zoo(tmp_path: Path) -> None:
    cards = [make(replace(TINY, out=tmp_path / f"{run}.safetensors")) for run in "ab"]
    other = make(replace(TINY, out=tmp_path / "c.safetensors", seed=1))
    assert cards[0]["fingerprint"] == cards[1]["fingerprint"]
    assert cards[0]["fingerprint"] != other["fingerprint"]


def test_the_program_writes_a_zoo_of_trained_adapters_and_a_card_without_places(tmp_path: Path) -> None:
    out = tmp_path / "new" / "zoo.safetensors"
    card = make(replace(TINY, out=out, shared_a=True))
    zoo = open_packed(out)
    assert (zoo.name, len(zoo), zoo.classes) == ("digits-shared", 50, list(DIGITS))
    assert all(zoo.layer(layer.name).abs().amax((1, 2)).min().item() > 0 for layer in zoo.layout.group("up"))
    text = out.with_suffix(".json").read_text()
    assert json.loads(text) == card
    assert str(tmp_path) not in text
    assert card["adapters"] == {"train": 30, "validation": 10, "test": 10}


def test_pools_share_no_image_and_adapters_use_only_their_own_pool() -> None:
    digits = read_digits(0)
    plan = draw_plan(replace(TINY, adapters=1000), digits)
    used = [set(plan.images[plan.split == part].ravel().tolist()) for part in range(3)]
    assert all(used)
    assert len(set.union(*used)) == sum(len(images) for images in used)
    np.testing.assert_array_equal(digits.pools[plan.images], plan.split[:, None].repeat(2, axis=1))
    np.testing.assert_array_equal(digits.labels[plan.images], plan.labels[:, None].repeat(2, axis=1))
    assert all(len(set(images)) == len(images) for images in plan.images.tolist())


def test_pools_are_stratified() -> None:
    digits = read_digits(0)
    for digit in range(10):
        counts = np.bincount(digits.pools[digits.labels == digit], minlength=3)
        np.testing.assert_allclose(counts / counts.sum(), (0.7, 0.1, 0.2), atol=0.01)


def test_every_part_of_a_small_split_has_an_adapter() -> None:
    assert parts(5).tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("rank", [1, 3])
def test_an_adapter_trained_in_a_batch_equals_the_same_adapter_trained_alone(base: Denoiser, rank: int) -> None:
    config = replace(TINY, steps=4, rank=rank)
    digits = read_digits(0)
    pixels = digits.pixels[draw_plan(config, digits).images[:6]]
    together, together_losses = fine_tune(base, pixels, range(6), config)
    alone, alone_losses = fine_tune(base, pixels[4:5], [4], config)
    torch.testing.assert_close(together[4:5], alone, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(together_losses[4:5], alone_losses)


def test_shared_a_is_the_same_for_all_and_own_a_differs() -> None:
    down = {shared: initial_rows(replace(TINY, shared_a=shared), [0, 7]) for shared in (True, False)}
    torch.testing.assert_close(down[True][0], down[True][1], rtol=0, atol=0)
    started = down[False] != 0
    assert (down[False][0] != down[False][1])[started[0]].all().item() is True
    assert started.sum(1).tolist() == [336, 336]  # A of all modules, and no B


def test_the_batched_forward_pass_equals_dense_models_with_merged_weights(base: Denoiser) -> None:
    rank, n, b = 2, 3, 4
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, layout(rank).p, generator=generator, dtype=torch.float64)
    factors = factors_of(rows, rank)
    assert set(factors) == set(MODULES)
    noisy = torch.randn(n, b, PIXELS, generator=generator, dtype=torch.float64)
    level = torch.rand(n, b, generator=generator, dtype=torch.float64)
    words = torch.tensor(prompt(NEUTRAL)).expand(n, 1, -1)
    model = copy.deepcopy(base).double()
    batched = model(noisy, level, words, factors)
    for one in range(n):
        dense = copy.deepcopy(model)
        for projection in dense.modules():
            if isinstance(projection, Projection) and projection.module in factors:
                down, up = factors[projection.module]
                projection.weight.add_(up[one] @ down[one])
        torch.testing.assert_close(batched[one : one + 1], dense(noisy[one : one + 1], level[one : one + 1], words[:1]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapters": 1005}, "adapters = 1005; use 1000"),
        ({"adapters": 0}, "adapters = 0; use 50"),
        ({"images": 0}, "images = 0"),
        ({"images": 10_000}, "images = 10000"),
        ({"rate": 0.0, "seed": -1}, "rate = 0.0, seed = -1"),
        ({"neutral_share": 1.5}, "neutral_share = 1.5"),
        ({"out": Path("zoo.npz")}, r"file \*.safetensors to write; found zoo.npz"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_training(
    tmp_path: Path, changes: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lora_perf.zoos.digits.pretrain", lambda *_, **__: pytest.fail("trained before the check"))
    with pytest.raises(LoraPerfError, match=message):
        make(replace(TINY, **{"out": tmp_path / "zoo.safetensors", **changes}))  # type: ignore[arg-type]


def test_a_place_that_cannot_be_written_is_one_line_and_status_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file" / "zoo.safetensors")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: expected a place that can be written")
    assert errors.count("\n") == 1


def test_the_command_names_what_differs_from_the_defaults() -> None:
    config = Config(Path("some/where/x.safetensors"), shared_a=True, base_steps=7)
    assert command(config) == "python -m lora_perf.zoos.digits --out x.safetensors --shared-a --base-steps 7"
