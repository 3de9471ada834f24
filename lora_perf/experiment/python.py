"""The experiment as a function of Python."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from lora_perf.classifiers import DEFAULT
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.split import SplitMethod
from lora_perf.experiment import runner
from lora_perf.experiment.config import Control, ExperimentConfig
from lora_perf.experiment.folder import run_in_folder
from lora_perf.experiment.observer import Progress, Teller
from lora_perf.io import load
from lora_perf.report.results import Results
from lora_perf.representations.catalogue import TEN

if TYPE_CHECKING:
    from lora_perf.io import Source


def run(
    source: Source = "digits",
    *,
    label_column: str = "category_label",
    representations: Sequence[str] = TEN,
    layer_groups: Sequence[str] = ("auto",),
    classifiers: Sequence[str] = (DEFAULT,),
    controls: Sequence[Control] = (),
    num_runs: int = 10,
    seed: int = 42,
    split: SplitMethod = "auto",
    epochs: int = 300,
    patience: int = 15,
    lr: float = 1e-3,
    weight_decay: float = 1e-4,
    dropout: float = 0.5,
    hidden_dim: int = 512,
    batch_size: int = 64,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    amp: bool = True,
    output_dir: str | Path | None = None,
    cache_features: bool = True,
    cache_dir: str | Path | None = None,
    sample_layers: int | None = None,
    skip_bad: bool = False,
    quick: bool = False,
    resume: bool = True,
    progress: bool | Progress = False,
) -> Results:
    """Trains classifiers on representations of the adapters of a zoo, as `python -m lora_perf.experiment` does.

    Nothing is written but what `output_dir` and `cache_dir` ask for, and nothing is shown: the package's log says how far
    the work is. All other settings are those of the command (`ExperimentConfig`), with the same numbers.

    >>> import lora_perf
    >>> results = lora_perf.experiment.run("digits", representations=["stats"], layer_groups=["all"], classifiers=["ridge"])
    >>> results.accuracy("stats", "all", "ridge").mean > results.chance
    True

    Args:
        source: a `Zoo`, or whatever `lora_perf.load` opens.
        output_dir: where the files of the command are written, and finished cells taken from; None: nowhere.
        cache_dir: where features and packed data sets are kept; by default within `output_dir`, or nowhere.
        progress: True shows bars on a terminal and lines elsewhere, as the command does; a function is called with
            "represent" or "train", how many adapters or cells are done, and how many there are.

    Raises:
        LoraPerfError: settings or data that cannot be used, files that cannot be written.
        KeyboardInterrupt: passed on; with `output_dir` finished cells are saved, and the same call goes on from there.
    """
    given = {name: value for name, value in locals().items() if name not in ("source", "progress")}
    is_place = isinstance(source, str) or (isinstance(source, Path) and source.exists())
    keeps = output_dir is not None
    given["cache_features"] = cache_features and (keeps or cache_dir is not None)
    if not keeps:
        del given["output_dir"]
    config = ExperimentConfig(dataset=str(source) if is_place else "", **_checked(given))
    with ExitStack() as stack:
        observer = Teller(progress if callable(progress) else None)
        if progress is True:
            from lora_perf.command import terminal
            from lora_perf.experiment.console import ConsoleObserver

            observer = stack.enter_context(ConsoleObserver(terminal.console()))
        zoo = None
        if not (is_place and (keeps or cache_dir is not None)):  # else what is packed in the cache may stand in for it
            zoo = load(source, label_column=label_column, skip_bad=skip_bad)
        prepared = runner.prepare(config, zoo)
        if keeps:
            return run_in_folder(prepared, observer, "lora_perf.experiment.run").results
        return runner.run(prepared, observer, keep=False)


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """Settings as the dataclass holds them: a single name may stand for a sequence, a text for a path.

    Raises:
        LoraPerfError: a value of another type, or a name that is not known.
    """
    hints = get_type_hints(ExperimentConfig)
    kept = {}
    for name in (one.name for one in fields(ExperimentConfig) if one.name in given):
        value, hint = given[name], hints[name]
        if get_origin(hint) is tuple:
            values = (value,) if isinstance(value, str) else tuple(value)
            kept[name] = tuple(_one(name, one, get_args(hint)[0]) for one in values)
        else:
            kept[name] = _one(name, value, hint)
    return kept


def _one(name: str, value: Any, hint: Any) -> Any:
    """One value of a setting, seen to be of its type."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise _refused(name, f"one of {listed(get_args(hint))}", value)
        return value
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if Path in kinds and isinstance(value, str):
        return Path(value).expanduser()
    numbers = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, numbers) or (isinstance(value, bool) and bool not in kinds):
        words = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
        raise _refused(name, f"a value of type {words}", value)
    return value


def _refused(name: str, expected: str, value: object) -> LoraPerfError:
    return LoraPerfError(expected=f"{expected} for {name}", found=repr(value), fix=f"change {name}")
