"""Wrong results: of whatever a workload returns, versions that its check must refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import singledispatch
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray

import lora_perf
from benchmarks import surface

Wrong = Iterator[tuple[str, Any]]
# How a check refuses: by its word, or by what stumbles over a result of another form.
REFUSALS = (AssertionError, LookupError, ValueError)
_PLACES = 4
_MANY = 3


def refuses(check: Callable[[Any], None], result: Any) -> bool:
    """Whether a check refuses a result."""
    try:
        check(result)
    except REFUSALS:
        return True
    return False


@singledispatch
def wrong(result: Any) -> Wrong:
    """Yields (what is wrong with it, a wrong version); the result itself stays as it is."""
    raise TypeError(f"no corruptor for {type(result).__name__}: write one, so that its check is known to fail")


@wrong.register
def _(result: np.ndarray) -> Wrong:
    yield "one row too few", result[:-1]
    yield "one row too many", np.concatenate([result, result[-1:]])
    if len(result) > 1:
        yield "rows reversed", result[::-1].copy()
        yield "rows moved by one", np.roll(result, 1, axis=0)
    for place in np.unique(np.linspace(0, result.size - 1, _PLACES).round().astype(int)):
        yield f"value {place} is off", _with(result, place, _off(result, place))
    if result.dtype.kind == "f":
        yield "a nan", _with(result, result.size // 2, np.nan)


@wrong.register
def _(result: torch.Tensor) -> Wrong:
    for what, array in wrong(result.numpy()):
        yield what, torch.from_numpy(array)


@wrong.register
def _(result: int) -> Wrong:
    yield "one too many", result + 1
    yield "one too few", result - 1


@wrong.register
def _(result: str) -> Wrong:
    yield "nothing", ""
    yield "something else", f"{result}x"


@wrong.register(list)
@wrong.register(tuple)
def _(result: list[Any] | tuple[Any, ...]) -> Wrong:
    make = type(result)
    yield "one item too few", make(result[:-1])
    for i, item in enumerate(result):
        for what, other in wrong(item):
            yield f"item {i}: {what}", make([*result[:i], other, *result[i + 1 :]])


@wrong.register
def _(result: dict) -> Wrong:  # type: ignore[type-arg]
    """Of many items each is made wrong in one way, of few in every way."""
    yield "one item too few", dict(list(result.items())[:-1])
    for i, (name, item) in enumerate(result.items()):
        ways = wrong(item) if len(result) <= _MANY else islice(wrong(item), i, i + 1)
        for what, other in ways:
            yield f"{name}: {what}", {**result, name: other}


@wrong.register(surface.Features)
def _(result: Any) -> Wrong:
    for what, values in wrong(result.values):
        yield what, replace(result, matrix=values)


@wrong.register(surface.Split)
def _(result: Any) -> Wrong:
    parts = {"train": result.train, "validation": result.validation, "test": result.test}
    for name, part in parts.items():
        for what, rows in wrong(part):
            yield f"{name}: {what}", replace(result, **{name: rows})
    yield "train and test exchanged", replace(result, train=result.test, test=result.train)
    yield "another kind", replace(result, kind="zoo")


@wrong.register(surface.Scores)
def _(result: Any) -> Wrong:
    for name in ("accuracy", "macro_f1", "macro_precision", "macro_recall", "confusion"):
        for what, values in wrong(getattr(result, name)):
            yield f"{name}: {what}", replace(result, **{name: values})
    yield "truth and prediction exchanged", replace(result, confusion=result.confusion.transpose(0, 2, 1))


@wrong.register(surface.Estimate)
def _(result: Any) -> Wrong:
    for name in ("mean", "low", "high", "se", "df"):
        yield f"{name} is off", replace(result, **{name: getattr(result, name) * 1.001})


@wrong.register(surface.TrainedRuns)
def _(result: Any) -> Wrong:
    """Random numbers make the runs, so that a weight that is a little off cannot be told; what belongs together can."""
    flipped = result.logits.flip(1)
    yield "test rows reversed", replace(result, logits=flipped, predictions=flipped.argmax(dim=2))
    untrained = torch.rand(result.logits.shape, generator=torch.Generator().manual_seed(0))
    yield "untrained", replace(result, logits=untrained, predictions=untrained.argmax(dim=2))
    yield "a nan", replace(result, logits=result.logits.index_fill(1, torch.tensor([3]), torch.nan))
    yield "a prediction is off", replace(result, predictions=(result.predictions + 1) % result.logits.shape[2])
    yield "a row too few", replace(result, logits=result.logits[:, :-1], predictions=result.predictions[:, :-1])
    yield "a run too few", replace(result, logits=result.logits[:-1], predictions=result.predictions[:-1])
    yield "other seeds", replace(result, seeds=tuple(seed + 1 for seed in result.seeds))
    yield "an epoch too few", replace(result, epochs_run=tuple(epochs - 1 for epochs in result.epochs_run))
    yield "not the best epoch", replace(result, best_epoch=tuple(epoch % 5 + 1 for epoch in result.best_epoch))
    yield "another accuracy", replace(result, validation_accuracy=tuple(1.01 * one for one in result.validation_accuracy))
    yield "a column dropped", replace(result, dropped=torch.tensor([0]))
    for what, change in _CURVES.items():
        yield what, replace(result, curves=(*result.curves[:-1], change(result.curves[-1])))
    if len(result.seeds) > 1:
        same = result.logits[:1].expand_as(result.logits)
        yield "one run many times", replace(result, logits=same, predictions=same.argmax(dim=2))


_CURVES: dict[str, Callable[[Any], Any]] = {
    "a loss is nan": lambda one: replace(one, train_loss=(*one.train_loss[:-1], float("nan"))),
    "the loss stays": lambda one: replace(one, train_loss=(one.train_loss[0],) * len(one.train_loss)),
    "an epoch is not booked": lambda one: replace(one, validation_accuracy=one.validation_accuracy[:-1]),
    "no share of the rows": lambda one: replace(
        one, validation_accuracy=(one.validation_accuracy[0] + 1e-3, *one.validation_accuracy[1:])
    ),
    "another rate": lambda one: replace(one, lr=tuple(lr / 2 for lr in one.lr)),
}


@wrong.register
def _(result: lora_perf.Zoo) -> Wrong:
    def zoo(rows: torch.Tensor, labels: torch.Tensor) -> lora_perf.Zoo:
        return lora_perf.Zoo.from_rows(rows, result.layout, labels, result.classes)

    for what, rows in wrong(result.rows):
        yield what, zoo(rows, torch.arange(len(rows)) % len(result.classes) if len(rows) != len(result) else result.labels)
    yield "labels moved by one", zoo(result.rows, result.labels.roll(1))


@wrong.register
def _(result: datasets.Dataset) -> Wrong:
    yield "rows reversed", result.select(range(len(result))[::-1])
    yield "one row too few", result.select(range(len(result) - 1))


@wrong.register
def _(result: Path) -> Wrong:
    """Files are changed where they are, one after the other, and put back at the end."""
    makers: dict[str, Callable[[Path], Wrong]] = {".safetensors": _files_packed, ".json": _files_json}
    kept = result.with_name("kept")
    result.rename(kept)
    try:
        for what, _file in makers[result.suffix](kept):
            _file.replace(result)
            yield what, result
    finally:
        kept.replace(result)


def _files_packed(kept: Path) -> Wrong:
    linked = kept.with_name("linked.safetensors")
    linked.hardlink_to(kept)
    zoo = lora_perf.load(linked)
    for what, other in wrong(zoo):
        target = kept.with_name("other.safetensors")
        lora_perf.pack(other, target)
        yield what, target
    linked.unlink()


def _files_json(kept: Path) -> Wrong:
    def changed(change: Callable[[Any], Any]) -> Path:
        results = json.loads(kept.read_text())
        change(results)
        target = kept.with_name("other")
        target.write_text(json.dumps(results))
        return target

    for i in range(4):
        yield f"cell {i} is missing", changed(lambda results, i=i: results["cells"].pop(i))
        run = lambda results, i=i: results["cells"][i]["runs"][1]  # noqa: E731
        yield f"cell {i}: accuracy is off", changed(lambda results, run=run: run(results).update(accuracy=0.77))
        yield f"cell {i}: an epoch too few", changed(lambda results, run=run: run(results).update(epochs=2))
        yield f"cell {i}: a run too few", changed(lambda results, i=i: results["cells"][i]["runs"].pop())
        yield f"cell {i}: predictions moved", changed(lambda results, run=run: run(results)["predictions"].insert(0, 0))
        yield f"cell {i}: mean is off", changed(lambda results, i=i: results["cells"][i]["accuracy"].update(mean=0.77))
    yield "one cell twice", changed(lambda results: results["cells"].append(results["cells"][0]))
    yield "other test rows", changed(lambda results: results["test_labels"].reverse())


def _off(array: NDArray[Any], place: int) -> Any:
    """A value that is wrong by a per cent, or by a thousandth of the others' size where it is near zero."""
    value = array.flat[place]
    if array.dtype.kind in "iu":
        return value + 1
    return value + 0.01 * abs(value) + 1e-3 * np.mean(np.abs(array))


def _with(array: NDArray[Any], place: int, value: Any) -> NDArray[Any]:
    other = array.copy()
    other.flat[place] = value
    return other
