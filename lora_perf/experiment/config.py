"""The settings of an experiment: one frozen dataclass for defaults, flags and help."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from lora_perf.classifiers import CLASSIFIERS, DEFAULT
from lora_perf.classifiers.perceptron.recipe import Shuffle, TrainingConfig
from lora_perf.classifiers.retrieval import RETRIEVAL
from lora_perf.core.ambient import refuse_threads
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.settings import refuse_nameless
from lora_perf.core.split import SplitMethod, refuse_seeds
from lora_perf.core.target import AskedTask
from lora_perf.distributed import refuse_scheduler

AUTO = "auto"
OF_UPDATES = ("dw_sketch", "dw_projector")  # that the default run sets beside the ten
Control = Literal["auto", "shuffled", "rank", "norm", "halves"]
Permutable = Literal["ridge", "knn", "logistic"]
Choose = Literal["validation", "folds"]
_QUICK_RUNS, _QUICK_EPOCHS = 2, 20


@dataclass(frozen=True)
class ExperimentConfig:
    """Ablation of a zoo of LoRA adapters: what do the weights tell of the class?

    Trains a classifier on each representation of each layer group, for several seeds, and writes tables, figures and
    every number to the output folder. The same command goes on where it was stopped.
    """

    dataset: str = "digits-mixed"
    """Embedded zoo (digits-mixed, digits, digits-shared), Hub alias (1k, 10k, 50k, 100k, small, sanity-check), Hub id, or a
    path."""
    label_column: str | None = "category_label"
    """Column of the labels in a data set or in the metadata of adapter files."""
    target: str | None = None
    """Column of the metadata to learn instead of the labels: classes, numbers, or several labels of each adapter."""
    task: AskedTask = "auto"
    """What the values of the target are; auto: lists are several labels, numbers are numbers unless they are a few whole ones
    that many adapters share, all else is classes. retrieval: are the nearest adapters those of the same class?"""
    group_column: str | None = None
    """Column of the metadata that says which adapters belong together, as creator or base: no group is trained on and tested,
    intervals count groups, and the accuracy of a random split stands beside."""
    skip_missing: bool = False
    """Leave out adapters of which target or group-column say nothing."""
    representations: tuple[str, ...] = (AUTO,)
    """Representations to compare, or sets of them: ten, dw (of the update B A), learned (fitted on the train rows). auto: the
    ten, not for adapters of different ranks, and dw_sketch and dw_projector, not of layers without both sides of a module."""
    sketch_width: int = 16
    """Width of dw_sketch, whose square is its numbers a module; the log tells how far sketches are from updates. dw_sketch_32
    among the representations is one of another width."""
    draws: int = 1
    """Draws of the random vectors of sketches (dw_sketch, projectors, dw_gram_probe), and seeds of the fits of learned and
    random representations: all runs train on each, so that intervals and tests hold for new draws too."""
    layer_groups: tuple[str, ...] = ("auto",)
    """all, visual, text, up, down, or part of a module's name, as attn2.to_v; drops are counted from the first group. auto:
    all, and visual where the zoo has such layers (attn1)."""
    layers: Literal["groups", "each"] = "groups"
    """each: beside the groups, every module of the first one by itself, ranked by cross-fitting on train and validation rows;
    then accuracy with the best of them, with all but these, and with as many drawn at random."""
    classifiers: tuple[str, ...] = field(default=(DEFAULT,), metadata={"known": CLASSIFIERS})
    """Classifiers by their names."""
    choose: Choose = "validation"
    """How ridge, logistic, knn and your own classifiers choose their setting. validation: on the validation rows, to be fitted
    to the train rows. folds: by five folds of both, to be fitted to both; six fits in place of one."""
    train_sizes: tuple[int, ...] = ()
    """Learn from so many train adapters too, a curve of accuracy against their number on the first group; five draws each."""
    test_dataset: str | None = None
    """Another data set, given as --dataset is, whose test adapters are read by what was learned here; beside it what is learned
    there."""
    controls: tuple[Control, ...] = ("auto",)
    """auto: the norms of modules, where groups have both sides of each, and beside learned representations their networks as
    they start and as many random numbers of the rows; an empty list: none. shuffled: labels of train and validation rows
    permuted; rank, norm: nothing but these of each module; halves: random halves of the layers, as large as the second group
    (--halves of them)."""
    halves: int = 60
    """How many random halves of the layers --controls halves draws, where so many differ."""
    permutations: int = 200
    """Permutations of all labels, whose scores stand beside those of --permuted probes and give these a p value; 0: none."""
    permuted: tuple[Permutable, ...] = ("ridge", "knn")
    """The probes whose labels are permuted. logistic is fitted once for each permutation, which takes as long as these fits do;
    ridge and knn solve all of them at once."""
    num_runs: int = 10
    """Runs (seeds) of each cell of a classifier that has seeds, as mlp, whose runs train together; others have one run."""
    seed: int = 42
    """Seed of the first run, of the split, of learned representations and of controls; the next runs count up."""
    split: SplitMethod = "auto"
    """auto: the zoo's own split or a stratified one; original: the rows of the original study."""
    splits: int = 1
    """Repeat everything on so many splits, each with a seed of its own; intervals are then over splits (Nadeau and Bengio)."""
    epochs: int = 300
    """Most epochs of a run."""
    patience: int = 15
    """Epochs without a better validation accuracy after which a run stops."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 1e-4
    """L2 penalty of Adam."""
    dropout: float = 0.5
    """Dropout rate after each hidden layer."""
    hidden_dim: int = 512
    """Units of each of the three hidden layers."""
    batch_size: int = 64
    """Adapters in a batch."""
    shuffle: Shuffle = "rows"
    """Order of the train rows in an epoch: rows, any; windows, a tenth of them mixed at a time, the same for all runs, for
    flat_vec of zoos that are larger than memory on slow disks."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where features are computed and classifiers trained; auto takes a GPU where there is one."""
    threads: int | None = None
    """Threads that compute; by default as many as PyTorch takes. Of the perceptron's runs each has one."""
    amp: bool = True
    """Compute the products of training in bfloat16 on a GPU, and on a CPU with units for it (AVX512-BF16, AMX)."""
    output_dir: Path = Path("results")
    """Folder of the results and of the cells that are finished; a report of other settings or data that stands there is kept
    in its folder earlier."""
    cache_features: bool = True
    """Keep features in the cache folder, keyed by content."""
    cache_dir: Path | None = None
    """Folder of cached features and packed data sets; None: OUTPUT-DIR/cache."""
    sample_layers: int | None = None
    """Use only this many layers, evenly spread over the adapter."""
    skip_bad: bool = False
    """Leave out adapter files that cannot be used, and say how many, instead of stopping at the first."""
    scheduler: str | None = None
    """Train cells on a Dask cluster: HOST:PORT of its scheduler, or local:N for N processes on this machine. All must see
    the data set, OUTPUT-DIR and CACHE-DIR."""
    shard: str | None = None
    """i/N: train the i-th of N shares of the cells and stop, as in a job array; without it the command collects them all."""
    quick: bool = False
    """A short look: at most 2 runs of at most 20 epochs. Where the report of a full run stands, its own goes to
    OUTPUT-DIR/quick."""
    preprocess_only: bool = False
    """Pack the data set into the cache folder, where later runs find it, and stop."""
    resume: bool = True
    """Take finished cells of the same settings, data and code from the output folder."""
    trace: Path | None = None
    """Folder for a trace of the run: a page, and a file for Perfetto and TensorBoard."""
    dry_run: bool = False
    """Print the plan and an estimate of its time, and stop."""

    def __post_init__(self) -> None:
        for name, lowest in (
            ("num_runs", 1),
            ("sample_layers", 1),
            ("splits", 1),
            ("sketch_width", 1),
            ("draws", 1),
            ("halves", 1),
            ("permutations", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < lowest:
                flag = name.replace("_", "-")
                raise LoraPerfError(expected=f"--{flag} of at least {lowest}", found=str(value), fix=f"change --{flag}")
        refuse_threads(self.threads)
        refuse_scheduler(self.scheduler)
        _ = self.share
        refuse_nameless(self, ("representations", "layer_groups", "classifiers"))
        CLASSIFIERS.resolve(self.classifiers)
        if self.splits > 1 and self.split == "zoo":
            raise LoraPerfError(
                expected="one split where it is the zoo's own",
                found=f"--splits {self.splits}",
                fix="leave --splits or --split zoo out",
            )
        if self.splits > 1 and self.draws > 1:
            raise LoraPerfError(
                expected="--draws on one split",
                found=f"--draws {self.draws} and --splits {self.splits}",
                fix="leave one of them out; splits fit learned representations anew, but keep the vectors of sketches",
            )
        if self.skip_missing and self.target is None and self.group_column is None:
            raise LoraPerfError(
                expected="--target or --group-column beside --skip-missing", found="neither", fix="name a column"
            )
        if self.task in ("numbers", "several") and self.target is None:
            raise LoraPerfError(
                expected=f"--target beside --task {self.task}", found="none", fix="name a column of the metadata with --target"
            )
        refuse_seeds(self.seed, max(self.num_runs, self.splits, self.draws))
        _ = self.training  # checks its numbers

    @property
    def share(self) -> tuple[int, int] | None:
        """Which of how many shares of the cells are trained, from 0 on; None where all are."""
        if self.shard is None:
            return None
        found = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise LoraPerfError(expected="--shard i/N with i from 1 to N", found=repr(self.shard), fix="write it like 2/5")
        return number - 1, count

    @property
    def effective(self) -> ExperimentConfig:
        """The settings after --quick."""
        if not self.quick:
            return self
        return replace(self, num_runs=min(self.num_runs, _QUICK_RUNS), epochs=min(self.epochs, _QUICK_EPOCHS))

    @property
    def training(self) -> TrainingConfig:
        return TrainingConfig(
            hidden=self.hidden_dim,
            dropout=self.dropout,
            lr=self.lr,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            epochs=self.epochs,
            patience=self.patience,
            amp=self.amp,
            shuffle=self.shuffle,
        )

    @property
    def readers(self) -> tuple[str, ...]:
        """The classifiers: of retrieval the nearest, where none was chosen."""
        chosen = (RETRIEVAL,) if self.task == "retrieval" and self.classifiers == (DEFAULT,) else self.classifiers
        return tuple(dict.fromkeys(chosen))

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.seed, self.seed + self.num_runs))

    @property
    def cache(self) -> Path:
        return self.cache_dir if self.cache_dir is not None else self.output_dir / "cache"

    def torch_device(self) -> torch.device:
        """The device of the run."""
        available = torch.cuda.is_available()
        if self.device == "cuda" and not available:
            raise LoraPerfError(expected="a CUDA GPU for --device cuda", found="none", fix="use --device auto or cpu")
        return torch.device("cuda" if available and self.device != "cpu" else "cpu")
