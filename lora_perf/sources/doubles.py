"""Adapters that are in a folder more than once: copies of a file, and checkpoints of one training run."""

from __future__ import annotations

import filecmp
import logging
import os
import re
from collections.abc import Sequence

from lora_perf.errors import LoraPerfError, listed
from lora_perf.sources.metadata import OWN_FOLDER
from lora_perf.text import counted

# What file managers, browsers and people call a copy of NAME.
_COPIES = (
    re.compile(r"^(?P<name>.+?) ?\(\d+\)$"),
    re.compile(r"^(?P<name>.+?)[ _-]+(?:copy|kopie|copie)(?:[ _-]?\(?\d+\)?)?$", re.IGNORECASE),
    re.compile(r"^(?:copy|kopie|copie)(?:[ _]\(?\d+\)?)?[ _]+(?:of|von|de)[ _]+(?P<name>.+)$", re.IGNORECASE),
)
_MAY_BE_COPY = re.compile(r"\)\.[^./]+$|copy|kopie|copie", re.IGNORECASE)
_CHECKPOINT = re.compile(r"^(?P<run>.+?)/(?P<state>(?:checkpoint|ckpt|(?:global[-_]?)?step|epoch)[-_]?\d+)/", re.IGNORECASE)
# As kohya's trainer names the state after an epoch or a step, beside NAME.safetensors at the end.
_EPOCH = re.compile(r"^(?P<name>.+)-(?:\d{6}|step\d{8})\.[^./]+$")
_log = logging.getLogger(__name__)


def copies_of(paths: Sequence[str]) -> dict[str, str]:
    """The files that by their names are copies of another that is there, each with the other."""
    suspects = [path for path in paths if _MAY_BE_COPY.search(path)]
    if not suspects:
        return {}
    stems = {os.path.splitext(path)[0]: path for path in paths}
    found = {}
    for path in suspects:
        inner, _, name = os.path.splitext(path)[0].rpartition("/")
        for match in filter(None, (pattern.match(name) for pattern in _COPIES)):
            beside = stems.get(f"{inner}/{match['name']}" if inner else match["name"])
            if beside is not None:
                found[path] = beside
    return found


def same_copies(folder: str, paths: Sequence[str]) -> dict[str, str]:
    """The files that by their names are copies of another and hold the same bytes, each with the other.

    Those of other bytes are adapters of their own, but told of.

    Cost: the content of files with such names is read once, and of no others.
    """
    same, other = {}, []
    for path, beside in copies_of(paths).items():
        try:
            equal = filecmp.cmp(f"{folder}/{path}", f"{folder}/{beside}", shallow=False)
        except OSError:
            continue  # whoever opens it says so
        if equal:
            same[path] = beside
        else:
            other.append(path)
    if other:
        _log.warning(
            "%s: the names of copies, but other bytes: %s: %s", folder, counted(len(other), "adapter"), listed(other, 3)
        )
    return same


def refuse_checkpoints(paths: Sequence[str], folder: str) -> None:
    """Refuses several states of one training run, which are near copies: they would stand in train and test rows alike.

    Raises:
        LoraPerfError: folders checkpoint-500, checkpoint-1000, ... of one run.
    """
    runs: dict[str, set[str]] = {}
    for path in paths:
        if match := _CHECKPOINT.search(path):
            runs.setdefault(match["run"], set()).add(match["state"])
    known = set(paths) if runs else set()
    several = {
        run: states
        for run, states in runs.items()
        if len(states) > 1 or any(f"{run}/{name}" in known for name in OWN_FOLDER)  # the state at the end
    }
    if several:
        run, states = next(iter(several.items()))
        raise LoraPerfError(
            expected=f"one adapter of each training run in {folder}",
            found=f"checkpoints of {counted(len(several), 'run')}, which are near copies: {listed(sorted(states), 3)} in {run}",
            fix="keep the last of each run, or name all of them in a metadata.csv, which is taken as it is",
        )
    suspects = [match for match in map(_EPOCH.match, paths) if match is not None]
    stems = {os.path.splitext(path)[0] for path in paths} if suspects else set()
    epochs = [match[0] for match in suspects if match["name"] in stems]
    if epochs:
        _log.warning(
            "%s: by their names earlier states of others, near copies: %s: %s",
            folder, counted(len(epochs), "adapter"), listed(epochs, 3),
        )  # fmt: skip
