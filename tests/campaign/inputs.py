"""One thing is changed in a zoo on disk: the numbers that an oracle reads there, or one line."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from random import Random

import numpy as np

import lora_perf
from lora_perf.command.status import exit_status
from lora_perf.command.terminal import warnings_to_stderr
from lora_perf.core.layout import Module
from lora_perf.experiment.__main__ import main as experiment
from lora_perf.inspect.__main__ import main as inspect
from tests.campaign.adapter_oracle import Refused
from tests.campaign.contents import MUTATIONS
from tests.campaign.forms import FORMS, Form
from tests.campaign.mutations import Mutation, NotHere
from tests.campaign.outcomes import Fault, Outcome
from tests.campaign.places import Place, all_but, compare, copy
from tests.campaign.processes import NOBODY
from tests.campaign.workbench import Bench, arguments_of, without_figures
from tests.io.adapters import found_updates

_TIMES = "experiment.log"
_RESULTS = ("out/results.json", "out/results.csv")


def changed_input(bench: Bench, place: Place) -> Outcome:
    random = place.random
    form = random.choices(FORMS, [3 if one.name == "packed file" else 1 for one in FORMS])[0]
    path = source_in(bench, form, place)
    place.what = form.name
    changes = mutate(path, random, place)
    harmless = all(one.harmless for one in changes)
    user = owner_of(place, changes)
    inspected = place.run(lambda: inspect([path.name]), "inspect", user=user).check(0, 1, 2, what="inspect")
    loaded = _load(path, place, user)
    if form.name == "packed file":
        return _packed(bench, place, path, inspected, user)
    says = _oracle(form, path, place, user)
    if loaded is None:
        if harmless:
            raise Fault(Outcome.STATUS, f"load refused what is as good as before: {_said(place, 'load')}")
        if inspected == 0:
            raise Fault(Outcome.DIFFERENT, f"inspect finds nothing wrong where load says {_said(place, 'load')}")
        outcome = Outcome.REFUSED
    else:
        _compare(loaded, says)
        outcome = Outcome.PROBLEM if inspected else Outcome.SAME
    if random.random() < 0.3:
        run = place.run(lambda: experiment(arguments_of(path.name)), "experiment", user=user, prepare=without_figures)
        if run.check(0, 2, what="the experiment") == 0:
            _compare_experiment(place.folder / "out" / "results.json", says)
        elif harmless:
            raise Fault(Outcome.STATUS, f"the experiment refused what is as good as before: {run.lines[0]}")
    return outcome


def source_in(bench: Bench, form: Form, place: Place) -> Path:
    """A zoo of a form in the place of a trial."""
    template = bench.forms[form.name]
    path = place.folder / template.name
    if form.is_file:
        shutil.copy2(template, path)
    else:
        copy(template, path)
    return path


def mutate(path: Path, random: Random, place: Place) -> list[Mutation]:
    """Changes one thing, seldom two, below a path or the file itself."""
    done: list[Mutation] = []
    for _ in range(random.choices((1, 2), (6, 1))[0]):
        for _ in range(100):
            files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
            one = random.choices(MUTATIONS, [each.weight for each in MUTATIONS])[0]
            if not files or not os.path.isfile(files[0]):
                break
            file = random.choice(files)
            try:
                said = one.change(file, path, random)
            except (NotHere, OSError, ValueError, struct.error):
                continue
            done.append(one)
            place.what += f"; {one.name} of {file.relative_to(place.folder)}: {said}"
            break
    return done


def owner_of(place: Place, changes: list[Mutation]) -> int | None:
    """Another user, where this one may do everything and permissions were changed."""
    if os.getuid() != 0 or all(one.name != "no_permission" for one in changes):
        return None
    for inner, folders, files in os.walk(place.folder):
        for name in (".", *folders, *files):
            os.lchown(os.path.join(inner, name), NOBODY, NOBODY)
    os.chown(place.folder.parent, NOBODY, NOBODY)
    place.logs.mkdir(exist_ok=True)
    os.chown(place.logs, NOBODY, NOBODY)
    return NOBODY


def _load(path: Path, place: Place, user: int | None) -> dict[str, np.ndarray] | None:
    """Labels, updates and norms that the package reads at a path, or None where it refuses."""
    target = place.folder.parent / "loaded.npz"

    def work() -> int:
        zoo = lora_perf.load(path.name)
        norms = lora_perf.represent(zoo, ["dw_norms"])["dw_norms"]
        updates, frobenius = [], []
        places = [norms.names.index(f"{module.name}/frobenius") for module in _modules(zoo)]
        for i in range(len(zoo)):
            found = found_updates(zoo, i)
            updates.append(np.concatenate([found[module.name].flatten().numpy() for module in _modules(zoo)]))
            frobenius.append(norms.values[i, places].numpy())
        labels = np.array([zoo.classes[label] for label in zoo.labels.tolist()])
        np.savez(target, labels=labels, updates=np.array(updates), norms=np.array(frobenius))
        return 0

    def told() -> int:
        with warnings_to_stderr():
            return work()

    ended = place.run(lambda: exit_status(told), "load", user=user)
    if ended.check(0, 2, what="load") == 2:
        return None
    with np.load(target) as found:
        return dict(found)


def _modules(zoo: lora_perf.Zoo) -> list[Module]:
    return sorted(zoo.layout.modules, key=lambda module: module.name)


def _oracle(form: Form, path: Path, place: Place, user: int | None) -> dict[str, np.ndarray] | None:
    """What the slow reader says of a path, or None where it can be read in no way."""
    target = place.folder.parent / "oracle.npz"

    def work() -> int:
        try:
            rows = form.read(path)
        except Refused as error:
            print(repr(str(error)))
            return 2
        np.savez(target, labels=np.array([row.label for row in rows]), updates=np.array([row.update for row in rows]))
        return 0

    ended = place.run(work, "oracle", user=user)
    if ended.status is not None and ended.status < 0:  # a library fell over a damaged file
        return None
    if ended.status == 2:
        return None
    if ended.status != 0:
        raise Fault(Outcome.BROKEN, f"the oracle ended with {ended.status}: {ended.err[-600:]}")
    with np.load(target) as found:
        return dict(found)


def _compare(loaded: dict[str, np.ndarray], says: dict[str, np.ndarray] | None) -> None:
    """Raises Fault where the package reads other adapters than the oracle."""
    if says is None:
        raise Fault(Outcome.DIFFERENT, f"load gives {len(loaded['labels'])} adapters where nothing can be read in one way")
    if len(loaded["labels"]) != len(says["labels"]):
        raise Fault(Outcome.DIFFERENT, f"load gives {len(loaded['labels'])} adapters where {len(says['labels'])} are right")
    free = list(range(len(says["labels"])))
    for i, (label, update) in enumerate(zip(loaded["labels"], loaded["updates"], strict=True)):
        for j in free:
            size = np.abs(says["updates"][j]).max() + 1e-30
            if says["labels"][j] == label and np.abs(says["updates"][j] - update).max() <= 1e-5 * size:
                free.remove(j)
                break
        else:
            raise Fault(Outcome.DIFFERENT, f"adapter {i} ({label}) has an update or a class that no adapter of the input has")
    wide = np.split(loaded["updates"], np.cumsum([48, 48]), axis=1)
    norms = np.stack([np.linalg.norm(one, axis=1) for one in wide], axis=1)
    if not np.allclose(loaded["norms"], norms, rtol=1e-3, atol=1e-6 * float(norms.max() + 1e-30)):
        raise Fault(Outcome.DIFFERENT, "the norms of dW are not those of the updates")


def _compare_experiment(path: Path, says: dict[str, np.ndarray] | None) -> None:
    """Raises Fault where an experiment was about other adapters than those of the oracle."""
    if says is None:
        raise Fault(Outcome.DIFFERENT, "the experiment has results where nothing can be read in one way")
    said = json.loads(path.read_text())["dataset"]
    expected = len(says["labels"]), sorted(set(says["labels"].tolist()))
    if (said["adapters"], sorted(said["classes"])) != expected:
        raise Fault(
            Outcome.DIFFERENT, f"the experiment is about {said['adapters']} of {said['classes']} where {expected} are right"
        )


def _packed(bench: Bench, place: Place, path: Path, inspected: int, user: int | None) -> Outcome:
    """A packed file that was changed: its experiment has the same numbers as before, or says what is wrong, as inspect does."""
    run = place.run(lambda: experiment(arguments_of(path.name)), "experiment", user=user, prepare=without_figures)
    if run.check(0, 2, what="the experiment") == 0:
        reference = {f"out/{name}": content for name, content in bench.of_packed.items()}
        for name in _RESULTS:
            compare(place.folder, {name: reference[name]}, "the experiment", ignore=all_but(name))
        return Outcome.SAME
    if inspected == 0:
        raise Fault(Outcome.DIFFERENT, f"inspect finds nothing wrong where the experiment says {run.lines[0]}")
    return Outcome.REFUSED


def _said(place: Place, step: str) -> str:
    (path,) = place.logs.glob(f"* {step}/err")
    return path.read_text(errors="replace").strip()[-300:]
