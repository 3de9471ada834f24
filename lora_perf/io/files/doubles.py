"""Adapters that are in a folder more than once: copies of a file, and checkpoints of one training run."""

from __future__ import annotations

import filecmp
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.text import counted
from lora_perf.io.files.metadata import OWN_FOLDER
from lora_perf.io.files.tree import parent

# What file managers, browsers and people call a copy of NAME: "NAME (1)", "NAME - Copy", "NAME (another copy)", "Copy of NAME".
_WORDS = ("copy", "kopie", "copie", "copia", "cópia", "копия", "副本", "コピー")
_OTHERS = ("bak", "backup", "duplicate")
_WORD = f"(?:{'|'.join(_WORDS)})"
_COPIES = (
    re.compile(r"^(?P<name>.+?) ?\(\d+\)$"),
    re.compile(rf"^(?P<name>.+?)[ _-]+(?:{_WORD}|{'|'.join(_OTHERS)})(?:[ _-]?\(?\d+\)?)?$", re.IGNORECASE),
    re.compile(rf"^(?P<name>.+?) ?\([^()]*{_WORD}[^()]*\)$", re.IGNORECASE),
    re.compile(r"^(?P<name>.+?)\.sync-conflict-[^/]+$", re.IGNORECASE),
    re.compile(rf"^{_WORD}(?:[ _]\(?\d+\)?)?[ _]+(?:of|von|de|di)[ _]+(?P<name>.+)$", re.IGNORECASE),
)
# Finder calls a second copy so; people number what is theirs in the same way, which the bytes tell.
_NUMBERED = re.compile(r"^(?P<name>.+) \d+$")
_CHECKPOINT = re.compile(r"^(?P<run>.+?)/(?P<state>(?:checkpoint|ckpt|(?:global[-_]?)?step|epoch)[-_]?\d+)/", re.IGNORECASE)
# As trainers name the state after an epoch or a step, beside NAME.safetensors at the end: NAME-000002 and NAME-step00000500
# of kohya's, NAME_000000500 of ai-toolkit, NAME_epoch_3; 0000100_NAME of mlx-lm.
_EPOCH = re.compile(
    r"^(?P<name>.+)[-_](?:\d{6,}|(?:epoch|ep|step|iter)s?[-_]?\d+)\.[^./]+$"
    r"|^(?P<inner>.*/|)\d{6,}[-_](?P<behind>[^/]+)\.[^./]+$",
    re.IGNORECASE,
)
_log = logging.getLogger(__name__)


def copies_of(paths: Sequence[str]) -> dict[str, str]:
    """The files that by their names, or by that of a folder above, are copies of another that is there, each with the other."""
    marks = [")", "sync-conflict", *_WORDS, *_OTHERS]
    every = "/".join(paths).lower()  # looked through at once, since most folders hold no copy
    marks = [mark for mark in marks if mark in every]
    suspects = [path for path in paths if any(mark in path.lower() for mark in marks)] if marks else []
    return _beside(suspects, paths, _COPIES) if suspects else {}


def _beside(suspects: Sequence[str], paths: Sequence[str], patterns: Sequence[re.Pattern[str]]) -> dict[str, str]:
    stems = {os.path.splitext(path)[0]: path for path in paths}
    found: dict[str, str] = {}
    for path in suspects:
        parts = os.path.splitext(path)[0].split("/")
        for place, part in enumerate(parts):
            if "=" in part and place < len(parts) - 1:  # a value of a column, whatever it is
                continue
            for match in filter(None, (pattern.match(part) for pattern in patterns)):
                beside = stems.get("/".join([*parts[:place], match["name"], *parts[place + 1 :]]))
                if beside is not None:
                    found[path] = beside
    return found


def same_copies(folder: str, paths: Sequence[str]) -> dict[str, str]:
    """The files that by their names are copies of another and hold the same bytes, each with the other.

    Those of other bytes are adapters of their own, but told of.

    Cost: the content of files with such names is read once, and of no others.
    """
    same, other = {}, []
    copies = copies_of(paths)
    spaced = [path for path in paths if " " in path]
    numbered = _beside(spaced, paths, [_NUMBERED]) if spaced else {}
    for path, beside in (numbered | copies).items():
        try:
            equal = filecmp.cmp(f"{folder}/{path}", f"{folder}/{beside}", shallow=False)
        except OSError:
            continue  # whoever opens it says so
        if equal:
            same[path] = beside
        elif path in copies:
            other.append(path)
    if other:
        _log.warning(
            "%s: the names of copies, but other bytes: %s: %s", folder, counted(len(other), "adapter"), listed(other, 3)
        )
    return same


def refuse_checkpoints(paths: Sequence[str], folder: str) -> None:
    """Refuses several states of one training run (checkpoint-500, checkpoint-1000, ...), which are near copies."""
    runs: dict[str, set[str]] = {}
    states = [match for path in paths if (match := _CHECKPOINT.match(path))]
    # A state is one adapter: a folder of several is a class that has such a name.
    several = {inner for inner, count in Counter(map(parent, paths)).items() if count > 1} if states else set()
    for match in states:
        if match[0].removesuffix("/") not in several:
            runs.setdefault(match["run"], set()).add(match["state"])
    known = set(paths) if runs else set()
    near = {
        run: names
        for run, names in runs.items()
        if len(names) > 1 or any(f"{run}/{name}" in known for name in OWN_FOLDER)  # the state at the end
    }
    if near:
        run, names = next(iter(near.items()))
        raise LoraPerfError(
            expected=f"one adapter of each training run in {folder}",
            found=f"checkpoints of {counted(len(near), 'run')}, which are near copies: {listed(sorted(names), 3)} in {run}",
            fix="keep the last of each run, or name all of them in a metadata.csv, which is taken as it is",
        )
    suspects = [match for match in map(_EPOCH.match, paths) if match is not None]
    stems = {os.path.splitext(path)[0] for path in paths} if suspects else set()
    epochs = [match[0] for match in suspects if (match["name"] or f"{match['inner']}{match['behind']}") in stems]
    if epochs:
        _log.warning(
            "%s: by their names earlier states of others, near copies: %s: %s",
            folder, counted(len(epochs), "adapter"), listed(epochs, 3),
        )  # fmt: skip
