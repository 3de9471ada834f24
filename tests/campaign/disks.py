"""Full disks, closed outputs and folders that may not be written: one line, nothing left, and right once there is room."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_perf.inspect.__main__ import main as inspect
from tests.campaign.outcomes import Fault, Outcome
from tests.campaign.places import Place, compare
from tests.campaign.processes import NOBODY, ROOT
from tests.campaign.workbench import Bench, without_figures

_FIGURES = (".svg", ".png")


class Skip(Exception):  # noqa: N818 - no error
    """The machine does not allow this trial."""


def trial(bench: Bench, place: Place) -> Outcome:
    kinds = (_full, _full, _full, _closed, _full_output, _broken_pipe, _read_only, _full_inspect)
    kind = kinds[int(place.identity.rpartition("-")[2]) % len(kinds)]
    place.what = kind.__name__.removeprefix("_").replace("_", " ")
    try:
        return kind(bench, place)
    except Skip as reason:
        place.what += f": {reason}"
        return Outcome.SKIPPED


def _full(bench: Bench, place: Place) -> Outcome:
    """A disk with too little room for all that a command writes; later it has more."""
    name = place.random.choice(("pack", "preprocess", "represent", "experiment", "experiment"))
    command = bench.commands[name]
    needed = sum(path.stat().st_size for path in (bench.folder / "references" / name).rglob("*") if path.is_file())
    pages = place.random.randint(1, max(2, needed // 4096))
    prepare = without_figures if place.random.random() < 0.7 else None
    place.what += f": {name}{' and figures' * (prepare is None)} with {4 * pages} kB where about {needed // 1024} are needed"
    with _small_disk(place.folder, pages) as grow:
        ended = place.run(command.work, "on the full disk", prepare=prepare)
        status = ended.check(0, 2, what="the run on the full disk")
        if status == 0:
            compare(place.folder, command.reference, "the run on the full disk", ignore=_is_figure)
        grow()
        again = place.run(command.work, "with room", prepare=prepare)
        again.check(0, what="the run with room")
        compare(place.folder, command.reference, "the run with room", ignore=_is_figure)
    return Outcome.REFUSED if status else Outcome.SAME


@contextmanager
def _small_disk(folder: Path, pages: int) -> Iterator[Callable[[], None]]:
    """Mounts a small file system at a folder; yields what gives it more room."""
    if os.getuid() != 0:
        raise Skip("only root mounts a small disk")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={4 * (pages + 1)}k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode:
        raise Skip(f"no small disk: {mount.stderr.strip().splitlines()[0]}")
    try:
        yield lambda: _mount("mount", "-o", "remount,size=200m", str(folder))
    finally:
        _mount("umount", "-l", str(folder))


def _mount(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _is_figure(path: str) -> bool:
    return path.endswith(_FIGURES)


def _closed(bench: Bench, place: Place) -> Outcome:
    """Nobody has a stdout for it, or it was closed: the files are written."""
    return _with_output(bench, place, ">&-")


def _full_output(bench: Bench, place: Place) -> Outcome:
    """Its stdout is a full disk: the files are written."""
    return _with_output(bench, place, "> /dev/full")


def _broken_pipe(bench: Bench, place: Place) -> Outcome:
    """Whoever reads its stdout goes away: the files are written."""
    return _with_output(bench, place, "| head -1 > /dev/null")


def _with_output(bench: Bench, place: Place, output: str) -> Outcome:
    """A process of its own, since the interpreter itself says something of its outputs at its end."""
    name = place.random.choice(("represent", "experiment", "preprocess", "inspect"))
    place.what += f": {name} {output}"
    arguments = ["lora_perf.inspect", str(bench.folder / "loras")]
    if name != "inspect":
        arguments = ["lora_perf.experiment", *bench.commands[name].arguments]
    logs = place.logs / "with another output"
    logs.mkdir(parents=True)
    program = shlex.join([sys.executable, "-m", *arguments])
    script = f"set -o pipefail; {program} 2> {shlex.quote(str(logs / 'err'))} {output}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(["bash", "-c", script], cwd=place.folder, env=environment, timeout=3 * place.limit, check=False)
    except subprocess.TimeoutExpired:
        raise Fault(Outcome.HANG, "it had to be stopped") from None
    err = (logs / "err").read_text()
    if "Traceback" in err or "Exception ignored" in err:
        raise Fault(Outcome.TRACEBACK, err[-600:])
    if name == "inspect":
        return Outcome.SAME
    compare(place.folder, bench.commands[name].reference, f"the run with {output}", ignore=_is_figure)
    if done.returncode:
        raise Fault(Outcome.STATUS, f"it ended with {done.returncode}: {err[-300:]}")
    return Outcome.SAME


def _read_only(bench: Bench, place: Place) -> Outcome:
    """Another user, who may read the folder and not write it."""
    if os.getuid() != 0:
        raise Skip("only root becomes another user")
    command = bench.commands[place.random.choice(("pack", "preprocess", "represent", "experiment"))]
    place.what += f": {command.name}"
    place.folder.chmod(0o555)
    ended = place.run(command.work, "another user", user=NOBODY, prepare=without_figures)
    if ended.check(0, 2, what="the run of another user") == 0:
        raise Fault(Outcome.DIFFERENT, "the run says that it wrote what it may not write")
    compare(place.folder, {}, "the run of another user")
    return Outcome.REFUSED


def _full_inspect(bench: Bench, place: Place) -> Outcome:
    """The report of an inspection on a full disk: both files, or none and one line."""
    pages = place.random.randint(1, 8)
    place.what += f" with {4 * pages} kB"
    source = str(bench.folder / "loras")
    with _small_disk(place.folder, pages):
        ended = place.run(lambda: inspect([source, "--output-dir", "said"]), "inspect")
        status = ended.check(0, 2, what="inspect")
        left = {path.name for path in place.folder.rglob("*") if path.is_file()}
        if left not in (set(), {"inspect.json", "inspect.md"}):
            raise Fault(Outcome.LEFT, f"of two reports {sorted(left)}")
        if (status == 0) != bool(left):
            raise Fault(Outcome.STATUS, f"inspect ended with {status} and left {sorted(left)}")
    return Outcome.REFUSED if status else Outcome.SAME
