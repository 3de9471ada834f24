"""What all trials share, made once before the first of them: zoos on disk, finished states and what undisturbed runs leave."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch

import lora_perf
from lora_perf import report
from lora_perf.command.status import exit_status
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.__main__ import main as experiment
from lora_perf.io import store
from tests.campaign.forms import FORMS
from tests.campaign.places import Snapshot, snapshot
from tests.campaign.processes import fork, start
from tests.io.adapters import BLOCK, factors, save, tensors

MODULES = {f"{BLOCK}.{kind}.{side}": (8, 6) for kind in ("attn1", "attn2") for side in ("to_q", "to_v")}
CLASSES = ("cat", "dog", "fish")
_BIG = (300, 40)  # adapters and layers of (1, 500): 24 MB, two blocks

COLD = ("preprocess", "represent", "experiment")  # commands that are started anew too
Work = Callable[[], int]


def without_figures() -> None:
    """Figures take longer than all the rest; a few trials draw them."""
    report.files.draw = lambda *_: []


@dataclass(frozen=True)
class Command:
    """A command of the campaign.

    Attributes:
        arguments: of `python -m lora_perf.experiment`; empty where the command is a function.
        work: the same as a function, relative to its working folder.
        reference: what it leaves in an empty folder when nobody disturbs it.
        events: how many file events it has there, and with its imports where it is started anew.
        seconds: it takes there.
    """

    name: str
    arguments: list[str]
    work: Work
    reference: Snapshot
    events: int
    cold_events: int
    seconds: float


@dataclass(frozen=True)
class Bench:
    """What all trials share.

    Attributes:
        folder: where all of it is.
        commands: by name.
        finished: the folder after `experiment`.
        big: a zoo in memory whose packing takes a while.
        forms: a zoo in every form, by its name.
        of_packed: the results of an undisturbed experiment on the packed form.
    """

    folder: Path
    commands: dict[str, Command]
    finished: Path
    big: Zoo
    forms: dict[str, Path]
    of_packed: Snapshot


def adapters(folder: Path, count: int = 30) -> Path:
    """A folder of adapters of three classes, whose scale tells the class."""
    for i in range(count):
        made = {name: (down * (1 + i % 3), up) for name, (down, up) in factors(i, 1, MODULES).items()}
        save(folder / CLASSES[i % 3] / f"{i:02}.safetensors", tensors(made))
    return folder


def arguments_of(source: Path | str, *further: str, output: str = "out") -> list[str]:
    """A small experiment of every kind of cell."""
    names = ["--representations", "stats", "dw_norms", "pca", "--classifiers", "mlp", "ridge"]
    size = ["--num-runs", "2", "--epochs", "3", "--hidden-dim", "16", "--device", "cpu"]
    return ["--dataset", str(source), "--output-dir", output, *names, *size, *further]


def big_zoo() -> Zoo:
    n, layers = _BIG
    layout = Layout([(f"unet.m{i}.attn1.to_q.lora.{side}.weight", shape) for i in range(layers // 2) for side, shape in _SIDES])
    rows = torch.randn((n, layout.p), generator=torch.Generator().manual_seed(1))
    return Zoo.from_rows(rows, layout, torch.arange(n) % 3, list(CLASSES), name="big")


_SIDES = (("down", (1, 500)), ("up", (500, 1)))


def build(folder: Path) -> Bench:
    """Makes the bench in an empty folder.

    Raises:
        RuntimeError: an undisturbed run fails: there is nothing to compare with.
    """
    for name in ("utf_8_sig", "utf_16", "latin_1", "cp1252"):  # another user may not be allowed to import anything later
        importlib.import_module(f"encodings.{name}")
    source = adapters(folder / "loras")
    packed = lora_perf.pack(source, folder / "zoo.safetensors")
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        experiment(arguments_of(packed, output=str(folder / "warm")))  # imports and warms up whatever is imported late
    big = big_zoo()
    works: dict[str, tuple[list[str], Work]] = {"pack": ([], lambda: _pack(big))}
    for name, further in (
        ("preprocess", ["--preprocess-only", "--cache-dir", "cache"]),
        ("represent", ["--classifiers", "ridge"]),
        ("experiment", []),
        ("from packed", ["--cache-dir", "cache"]),
    ):
        arguments = arguments_of(source, *further)
        works[name] = arguments, _experiment_of(arguments)
    commands = {}
    for name, (arguments, work) in works.items():
        place = folder / "references" / name
        if name == "from packed":  # goes on where preprocessing ended
            shutil.copytree(folder / "references" / "preprocess", place)
        place.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        ended = fork(work, place, folder / "logs" / name, count=True, prepare=without_figures).wait(300)
        seconds = time.monotonic() - begin
        if ended.status != 0:
            raise RuntimeError(f"the undisturbed {name} ended with {ended.status}: {ended.err}")
        cold = 0
        if arguments and name in COLD:
            anew = folder / "references" / f"{name} anew"
            anew.mkdir()
            cold = start(["lora_perf.experiment", *arguments], anew, folder / "logs" / f"{name} anew").wait(300).events
        commands[name] = Command(name, arguments, work, snapshot(place), ended.events, cold, seconds)
    return Bench(folder, commands, folder / "references" / "experiment", big, _forms(folder / "forms"), _of_packed(folder))


def _forms(folder: Path) -> dict[str, Path]:
    """Every form of a zoo on disk, and its path."""
    found = {}
    for i, form in enumerate(FORMS):
        place = folder / f"{i}"
        place.mkdir(parents=True)
        suffix = {"packed file": ".safetensors", "feather": ".feather"}.get(form.name, "")
        found[form.name] = place / f"data{suffix}"
        form.write(found[form.name])
    return found


def _of_packed(folder: Path) -> Snapshot:
    """What the experiment on the packed form leaves."""
    place = folder / "references" / "packed form"
    place.mkdir()
    path = folder / "forms" / f"{len(FORMS) - 1}" / "data.safetensors"
    shutil.copy2(path, place / path.name)
    ended = fork(_experiment_of(arguments_of(path.name)), place, folder / "logs" / "packed form", prepare=without_figures).wait(
        300
    )
    if ended.status != 0:
        raise RuntimeError(f"the undisturbed experiment on a packed file ended with {ended.status}: {ended.err}")
    return snapshot(place / "out")


def _experiment_of(arguments: list[str]) -> Work:
    return lambda: experiment(list(arguments))


def _pack(zoo: Zoo) -> int:
    def work() -> int:
        store.write(zoo, Path("zoo.safetensors"))
        return 0

    return exit_status(work)
