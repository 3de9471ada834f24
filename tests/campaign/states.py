"""One thing is changed in a finished state, or in a zoo beside one: what an undisturbed run gives, or one line."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

from lora_perf.experiment.__main__ import main as experiment
from tests.campaign.contents import MUTATIONS
from tests.campaign.forms import FORMS
from tests.campaign.inputs import mutate, owner_of, source_in
from tests.campaign.mutations import Mutation, NotHere
from tests.campaign.outcomes import Fault, Outcome
from tests.campaign.places import Place, all_but, compare, copy, difference, is_earlier, snapshot
from tests.campaign.workbench import Bench, Command, arguments_of, without_figures

_TIMES = "experiment.log"
_RESULTS = ("out/results.json", "out/results.csv")


def changed_state(bench: Bench, place: Place) -> Outcome:
    """A finished state in which one file was changed, and mostly without its finished cells, so that caches are read."""
    random = place.random
    command = bench.commands[random.choice(("experiment", "from packed"))]
    copy(bench.folder / "references" / command.name, place.folder)
    place.what = f"state of {command.name}"
    files = [path for path in sorted(place.folder.rglob("*")) if path.is_file() and path.name != _TIMES]
    folders = [path for path in sorted(place.folder.rglob("*")) if path.is_dir()]
    kinds = (random.choice(files), place.folder / "out" / _TIMES, random.choice(folders))
    file = random.choices(kinds, (85, 5, 10))[0]
    if "cells" not in (file.parent.name, file.name) and random.random() < 0.7:
        shutil.rmtree(place.folder / "out" / "cells")
        place.what += " without cells"
    before = file.relative_to(place.folder).as_posix()
    change, said = _change(file, place.folder, random)
    place.what += f"; {change.name} of {before}: {said}"
    user = owner_of(place, [change])
    changed = snapshot(place.folder) if user is None else {}
    ended = place.run(command.work, "again", user=user, prepare=without_figures)
    status = ended.check(0, 2, what="the run on it")
    _unlock(place.folder)
    after = snapshot(place.folder)
    known = {*changed, *command.reference, f"{Path(before).parent}/nowhere"}  # the last: what a broken link leads to
    left = [path for path in after if path not in known and not is_earlier(path) and user is None]
    if left:
        raise Fault(Outcome.LEFT, f"the run on it left {', '.join(sorted(left)[:5])}")
    if status == 2:
        if before.endswith((".safetensors", ".json")) and _is_content(change):
            raise Fault(Outcome.STUCK, f"a damaged {before} is no reason to stop: {ended.lines[0]}")
        return Outcome.REFUSED
    _compare_state(place, command, changed, after)
    return Outcome.RECOMPUTED if after.get(before) != changed.get(before) else Outcome.SAME


def _is_content(change: Mutation) -> bool:
    """Whether a change left a regular file in its place, only with another content."""
    return change.name in ("flipped_bit", "truncated", "longer", "zeroed_block", "other_content", "json_value", "swapped")


def _change(file: Path, root: Path, random: Random) -> tuple[Mutation, str]:
    while True:
        one = random.choices(MUTATIONS, [each.weight for each in MUTATIONS])[0]
        if file.is_dir() and one.name not in ("other_kind", "no_permission"):
            continue
        if one.name in ("stray", "foreign", "nothing", "tensor", "column", "line_twice", "folder_renamed"):
            continue
        try:
            return one, one.change(file, root, random)
        except (NotHere, OSError, ValueError, struct.error):
            continue


def _compare_state(place: Place, command: Command, changed: dict[str, object], after: dict[str, object]) -> None:
    """Raises Fault where results are not those of an undisturbed run, or another file is neither right nor as it was."""
    for path, content in command.reference.items():
        if path in _RESULTS or (path in after and after[path] not in (content, changed.get(path), "there")):
            compare(place.folder, {path: content}, "the run on it", ignore=all_but(path))


def changed_behind_a_cache(bench: Bench, place: Place) -> Outcome:
    """A zoo that is packed into a cache, mostly with a finished experiment on it, and changed then."""
    random = place.random
    form = random.choice([one for one in FORMS if one.name != "packed file"])
    path = source_in(bench, form, place)
    place.what = f"{form.name}, packed before"
    arguments = arguments_of(path.name, "--cache-dir", "cache")

    def work(*further: str) -> Callable[[], int]:
        return lambda: experiment([*arguments, *further])

    place.run(work("--preprocess-only"), "pack").check(0, what="packing")
    if random.random() < 0.6:
        place.run(work(), "before", prepare=without_figures).check(0, what="the experiment before")
    mutate(path, random, place)
    old = place.run(work(), "old folder", prepare=without_figures).check(0, 2, what="the experiment with the old cache")
    anew = ["--output-dir", "anew", "--cache-dir", "anew"]
    new = place.run(work(*anew), "new folder", prepare=without_figures).check(0, 2, what="the experiment in a new folder")
    if old != new:
        raise Fault(Outcome.DIFFERENT, f"with an old cache the experiment ends with {old}, without with {new}")
    if old == 2:
        return Outcome.REFUSED
    found, right = (snapshot(place.folder / name)["results.json"] for name in ("out", "anew"))
    for one in (found, right):
        del one["config"]
    if found != right:
        raise Fault(Outcome.DIFFERENT, f"with an old cache the results are others: {difference(found, right)}")
    return Outcome.SAME


def _unlock(folder: Path) -> None:
    for inner, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            path = os.path.join(inner, name)
            if not os.path.islink(path):
                os.chmod(path, 0o755)
