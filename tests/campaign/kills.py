"""Runs that are ended at random moments: the next one in the folder gives what an undisturbed one gives, and tidies up."""

from __future__ import annotations

import signal

from tests.campaign.outcomes import EXIT_STATUS, Ended, Fault, Outcome
from tests.campaign.places import Place, compare, copy
from tests.campaign.processes import Kill
from tests.campaign.workbench import Bench, Command, without_figures

_FIGURES = (".svg", ".png")


def trial(bench: Bench, place: Place) -> Outcome:
    """One run, or two after each other, ended at random; then one to its end."""
    random = place.random
    name = random.choices(("pack", "preprocess", "represent", "experiment", "resume"), (2, 2, 3, 4, 3))[0]
    command = bench.commands["experiment" if name == "resume" else name]
    cold = bool(command.arguments) and random.random() < 0.25
    figures = cold or random.random() < 0.1
    place.what = name + (" anew" if cold else "") + (" with figures" if figures else "")
    if name == "resume":
        _take_away(bench, place)
    elif name == "pack" and random.random() < 0.5:
        (place.folder / "zoo.safetensors").write_bytes(b"an older file")
    ended = None
    for _ in range(random.choices((1, 2), (4, 1))[0]):
        kill = _moment(command, cold, place)
        place.what += f", {kill}"
        if cold:
            ended = place.start(["lora_perf.experiment", *command.arguments], "ended", kill=kill)
        else:
            ended = place.run(command.work, "ended", kill=kill, prepare=None if figures else without_figures)
        _check_end(ended, kill, cold or kill.twice or (kill.seconds or 1) < 0.1)
        _check_whole(place, command)
    again = place.run(command.work, "again", prepare=None if figures else without_figures)
    try:
        again.check(0, what="the next run")
    except Fault as fault:
        outcome = Outcome.STUCK if fault.outcome is Outcome.STATUS else fault.outcome
        raise Fault(outcome, fault.detail) from None
    compare(
        place.folder,
        command.reference,
        "the next run",
        ignore=lambda path: path.endswith(_FIGURES),
        optional=lambda path: name == "resume" and "/cache/" in path,  # of a finished cell no features are needed
    )
    return Outcome.OVER if ended is not None and ended.status == 0 else Outcome.RESUMED


def _take_away(bench: Bench, place: Place) -> None:
    """A finished state without some of its cells and caches."""
    copy(bench.finished, place.folder)
    for path in sorted(place.folder.rglob("*")):
        if path.is_file() and place.random.random() < 0.5:
            path.unlink()


def _moment(command: Command, cold: bool, place: Place) -> Kill:
    random = place.random
    number = random.choices((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (6, 2, 2))[0]
    events = command.cold_events if cold else command.events
    if cold or random.random() < 0.7:
        twice = not cold and number != signal.SIGKILL and random.random() < 0.2
        return Kill(number, event=random.randint(2, events + 1), after=random.random() < 0.5, twice=twice)
    return Kill(number, seconds=random.uniform(0, 1.1 * command.seconds))


def _check_end(ended: Ended, kill: Kill, importing: bool) -> None:
    if kill.signal == signal.SIGKILL:
        if ended.status != -signal.SIGKILL:
            ended.check(0, what="the run")
        return
    ended.check(0, EXIT_STATUS[kill.signal], what=f"the run under {kill.signal.name}", importing=importing)


def _check_whole(place: Place, command: Command) -> None:
    """What bears the name of a finished file is one, as it was before or as an undisturbed run leaves it."""
    older = place.folder / "zoo.safetensors"
    is_older = older.exists() and older.read_bytes() == b"an older file"
    whole = {path: one for path, one in command.reference.items() if not (is_older and path == older.name)}
    compare(
        place.folder,
        whole,
        "the run that was ended",
        ignore=lambda path: path not in whole or path.endswith(_FIGURES),
        optional=lambda _: True,
    )
