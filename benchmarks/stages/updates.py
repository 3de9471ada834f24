"""Representations of the update dW = s B A: each of them, and the spectrum of large updates of rank 16."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lora_perf
from benchmarks import baselines, corpora, surface
from benchmarks.stages.representing import zoo_in_memory
from benchmarks.table import Baseline, Case, workload

Array = NDArray[np.float64]
UPDATES = (
    "dw_spectrum",
    "dw_singular_values",
    "dw_norms",
    "dw_energy",
    "dw_sketch",
    "dw_gram_probe",
    "dw_canonical",
    "layer_coupling",
)
_TOLERANCE = 1e-5
# svd_lowrank of a product in float32: a random subspace that holds the product, three roundings more than QR.
_LOWRANK_TOLERANCE = 1e-3
_PAIR = {"m": 1280, "r": 16, "k": 768}


@cache
def _pairs(count: int) -> lora_perf.Zoo:
    """Updates of one module of rank 16, 131 kB each, as training leaves them: a decaying spectrum, an ordinary down."""
    rng = np.random.default_rng(16)
    m, r, k = _PAIR.values()
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora"
    layout = surface.Layout([(f"{name}.down.weight", (r, k)), (f"{name}.up.weight", (m, r))])
    rows = rng.standard_normal((count, layout.p), np.float32)
    rows[:, : r * k] *= k**-0.5
    rows[:, r * k :].reshape(count, m, r)[...] *= np.geomspace(0.01, 0.0005, r, dtype=np.float32)
    return lora_perf.Zoo.from_rows(torch.from_numpy(rows), layout, torch.arange(count) % 2, ["even", "odd"])


def _vectors(zoo: lora_perf.Zoo, name: str) -> dict[str, tuple[Array, Array, Array]]:
    """The sketch's two matrices and the pole of each module: for `dw_canonical` of rank 1 that of the train rows."""
    found = {}
    for module in zoo.layout.modules:
        fixed = surface.FixedVectors([module], torch.device("cpu"))
        pole = fixed.poles[0].numpy()
        if name == "dw_canonical":
            ups = zoo.rows[_train(len(zoo))][:, module.up.columns].double().numpy()
            ups /= np.linalg.norm(ups, axis=1, keepdims=True)
            leading = np.linalg.eigh(ups @ ups.T)[1][:, -1] @ ups
            pole = leading if leading @ pole >= 0 else -leading
        found[module.name] = fixed.left[0].numpy(), fixed.right[0].numpy(), pole
    return found


def _train(adapters: int) -> torch.Tensor:
    return torch.randperm(adapters, generator=torch.Generator().manual_seed(0))[: 7 * adapters // 10]


def _some(zoo: lora_perf.Zoo, rows: torch.Tensor) -> lora_perf.Zoo:
    return lora_perf.Zoo.from_rows(zoo.rows[rows], zoo.layout, corpora.labels_of(zoo)[rows], zoo.classes)


@cache
def _kinds(names: tuple[str, ...]) -> NDArray[np.intp]:
    """A number for each feature, the same in all modules."""
    return np.unique([name.rpartition("/")[2] for name in names], return_inverse=True)[1]


def _assert_close(found: torch.Tensor, expected: torch.Tensor, names: tuple[str, ...], tolerance: float) -> None:
    """Equal up to a tolerance, of themselves and of the mean size of that feature over adapters and modules."""
    assert found.shape == expected.shape, f"{tuple(found.shape)} instead of {tuple(expected.shape)}"
    kind = _kinds(names)
    magnitudes = expected.abs()
    bound = np.bincount(kind, magnitudes.mean(dim=0).numpy()) / np.bincount(kind)
    good = (found - expected).abs_() <= tolerance * (magnitudes + torch.from_numpy(bound[kind].astype(np.float32)))
    if not good.all():  # a nan is not good
        wrong = good.logical_not_()
        row, column = wrong.nonzero()[0].tolist()
        raise AssertionError(
            f"{wrong.sum()} features are wrong, the first of adapter {row}, {names[column]}: "
            f"{found[row, column]} instead of {expected[row, column]}"
        )


def _case(zoo: lora_perf.Zoo, name: str, *, lowrank: bool) -> Case:
    few = torch.tensor([0, len(zoo) - 1])
    part = _some(zoo, few)
    n, train = len(zoo), _train(len(zoo))
    signs = name == "dw_canonical"  # which the train rows decide

    @cache
    def vectors() -> dict[str, tuple[Array, Array, Array]]:
        return _vectors(zoo, name)

    @cache
    def by_qr() -> torch.Tensor:
        return baselines.updates_by_qr(part, name, vectors())

    @cache
    def by_pass() -> Any:
        return lora_perf.represent(zoo, [name], train=train)[name][few] if signs else lora_perf.represent(part, [name])[name]

    @cache
    def turned() -> torch.Tensor:
        """What the pass makes of all adapters in reversed order, so that each is in another place of another block."""
        return lora_perf.represent(_some(zoo, torch.arange(n).flip(0)), [name], train=n - 1 - train)[name].values.flip(0)

    def check(found: dict[str, Any]) -> None:
        """A few adapters against the loop, and all against the pass in another order."""
        assert list(found) == [name]
        one = found[name]
        assert one.names == by_pass().names
        _assert_close(one.values, turned(), one.names, _TOLERANCE)
        _assert_close(one.values[few], by_qr(), one.names, _TOLERANCE)

    def check_loop(tolerance: float) -> Callable[[torch.Tensor], None]:
        return lambda found: _assert_close(found, by_pass().values, by_pass().names, tolerance)

    share = len(part) / len(zoo)
    slow = {"QR": Baseline(lambda: baselines.updates_by_qr(part, name, vectors()), check_loop(_TOLERANCE), share)}
    if lowrank:
        call = lambda: baselines.spectrum_by_svd_lowrank(part)  # noqa: E731
        slow["svd_lowrank"] = Baseline(call, check_loop(_LOWRANK_TOLERANCE), share)
    return Case(
        call=lambda: lora_perf.represent(zoo, [name], train=train),
        check=check,
        nbytes=zoo.nbytes,
        baselines=slow,
        limit=lambda: baselines.copy_fresh(zoo.rows.numpy()),
        layers=len(zoo.layout),
        adapters=len(zoo),
    )


def _prepare(name: str) -> Callable[[str], Case]:
    def prepare(scale: str) -> Case:
        return _case(zoo_in_memory(corpora.SCALES[scale]), name, lowrank=name == "dw_spectrum")

    prepare.__doc__ = f"The representation {name} of rows in memory."
    return prepare


for _name in UPDATES:
    _slow = ("QR", "svd_lowrank") if _name == "dw_spectrum" else ("QR",)
    workload("representing", "small", "medium", baselines=_slow, limit=True, name=f"represent_{_name}")(_prepare(_name))


@workload("representing", "small", "medium", baselines=("QR", "svd_lowrank"), limit=True)
def dw_spectrum_rank16(scale: str) -> Case:
    """Singular values of 64 or 1,000 updates of 1280 x 768 and rank 16."""
    return _case(_pairs(corpora.SCALES[scale]), "dw_spectrum", lowrank=True)
