"""The experiment as a function of Python."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lora_perf.classifiers import DEFAULT
from lora_perf.core.ambient import in_plain_torch, with_threads
from lora_perf.core.settings import Progress, settings_of
from lora_perf.core.split import SplitMethod
from lora_perf.core.target import AskedTask
from lora_perf.experiment import runner
from lora_perf.experiment.config import Choose, Control, ExperimentConfig, Permutable
from lora_perf.experiment.folder import run_in_folder
from lora_perf.experiment.observer import Teller
from lora_perf.io import load
from lora_perf.report.results import Results

if TYPE_CHECKING:
    from lora_perf.io import Source


@in_plain_torch
def run(
    source: Source = "digits-mixed",
    *,
    label_column: str | None = "category_label",
    target: str | None = None,
    task: AskedTask = "auto",
    group_column: str | None = None,
    skip_missing: bool = False,
    representations: Sequence[str] = ("auto",),
    sketch_width: int = 16,
    draws: int = 1,
    layer_groups: Sequence[str] = ("auto",),
    layers: Literal["groups", "each"] = "groups",
    classifiers: Sequence[str] = (DEFAULT,),
    choose: Choose = "validation",
    train_sizes: Sequence[int] = (),
    test_dataset: Source | None = None,
    controls: Sequence[Control] = ("auto",),
    halves: int = 60,
    permutations: int = 200,
    permuted: Sequence[Permutable] = ("ridge", "knn"),
    num_runs: int = 10,
    seed: int = 42,
    split: SplitMethod = "auto",
    splits: int = 1,
    epochs: int = 300,
    patience: int = 15,
    lr: float = 1e-3,
    weight_decay: float = 1e-4,
    dropout: float = 0.5,
    hidden_dim: int = 512,
    batch_size: int = 64,
    shuffle: Literal["rows", "windows"] = "rows",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int | None = None,
    amp: bool = True,
    output_dir: str | Path | None = None,
    cache_features: bool = True,
    cache_dir: str | Path | None = None,
    sample_layers: int | None = None,
    skip_bad: bool = False,
    scheduler: str | None = None,
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
        test_dataset: the like, whose test adapters are read too by what was learned of those of `source`.
        output_dir: where the files of the command are written, and finished cells taken from; None: nowhere.
        cache_dir: where features and packed data sets are kept; by default within `output_dir`, or nowhere.
        progress: True shows bars on a terminal and lines elsewhere, as the command does; a function is called with
            "pack", "represent" or "train", how many adapters or cells are done, and how many there are.

    Raises:
        LoraPerfError: settings or data that cannot be used, files that cannot be written.
        KeyboardInterrupt: passed on; with `output_dir` finished cells are saved, and the same call goes on from there.
    """
    given = {name: value for name, value in locals().items() if name not in ("source", "progress")}
    is_place, tests_place = (isinstance(one, str) or (isinstance(one, Path) and one.exists()) for one in (source, test_dataset))
    keeps = output_dir is not None
    given["cache_features"] = cache_features and (keeps or cache_dir is not None)
    if not keeps:
        del given["output_dir"]
    given["dataset"] = str(source) if is_place else ""
    given["test_dataset"] = str(test_dataset) if tests_place else None
    config = settings_of(ExperimentConfig, given)
    with with_threads(config.threads), ExitStack() as stack:
        observer = Teller(progress if callable(progress) else None)
        if progress is True:
            from lora_perf.command import terminal
            from lora_perf.experiment.console import ConsoleObserver

            observer = stack.enter_context(ConsoleObserver(terminal.console()))
        zoo = None
        if not (is_place and (keeps or cache_dir is not None)):  # else what is packed in the cache may stand in for it
            zoo = load(source, label_column=label_column, skip_bad=skip_bad)
        beyond = None if test_dataset is None else load(test_dataset, label_column=label_column, skip_bad=skip_bad)
        prepared = runner.prepare(config, zoo, beyond=beyond)
        if keeps:
            return run_in_folder(prepared, observer, "lora_perf.experiment.run").results
        return runner.run(prepared, observer, keep=False)
