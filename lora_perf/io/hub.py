"""Data sets of the Hugging Face Hub, by id or by the aliases of the original study."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_perf.core.errors import LoraPerfError, first_line, listed
from lora_perf.core.zoo import Zoo
from lora_perf.io.refusals import DATA_SET, is_choice, refusal
from lora_perf.io.splits import EVERY

ALIASES = {
    "1k": "jacekduszenko/lora-ws-1k",
    "10k": "jacekduszenko/lora-ws-10k",
    "50k": "jacekduszenko/lora-ws-50k",
    "100k": "jacekduszenko/lora-ws-100k",
    "small": "jacekduszenko/weights-dataset-small",
    "sanity-check": "jacekduszenko/lora-ws-sanity-check",
}
DATASETS = "hf://datasets/"  # how the Hub's client writes an id as an address
_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?")
# A Hub that is there answers sooner; where it does not, the cache is asked before one waits longer for it.
_SOON, _PATIENT = 1.0, 10.0
_NEWEST = "main"  # the revision where none is asked for
_COMMIT = re.compile("[0-9a-f]{40}")
_SHORT = 7  # digits of a commit that stand for it
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """A data set of the Hub: `owner/name`, `owner/name:configuration`, `owner/name@revision`, or all three."""

    repository: str
    config: str | None = None
    revision: str | None = None

    @property
    def choices(self) -> dict[str, str]:
        """What `datasets.load_dataset` takes beside the repository."""
        given = {"name": self.config, "revision": self.revision}
        return {key: value for key, value in given.items() if value is not None}


def target_of(name: str) -> Target:
    """What an id or an alias means."""
    match = _ID.fullmatch(ALIASES.get(name, name).removeprefix(DATASETS))
    if match is None:
        raise LoraPerfError(
            expected=f"a data set of the Hub as {DATASETS}OWNER/NAME, with @REVISION behind it",
            found=name,
            fix="leave the path of its files out",
        )
    return Target(match["repository"], match["config"], match["revision"])


def answers(target: Target) -> bool:
    """Whether the Hub is there and shows a data set, as far as it says within a second."""
    import datasets

    return not datasets.config.HF_HUB_OFFLINE and _asked(target, _SOON) is None


def in_cache(name: str) -> bool:
    """Whether `datasets` has some revision of a data set in its cache."""
    import datasets

    owner, _, repository = target_of(name).repository.partition("/")
    cache = datasets.config.HF_DATASETS_CACHE
    return any(os.path.isdir(os.path.join(cache, f"{owner}___{one}")) for one in (repository, repository.lower()))


def is_hub_id(name: str) -> bool:
    """Whether a name can be that of a data set of the Hub."""
    return _ID.fullmatch(name) is not None


def open_hub(name: str, label_column: str | None, split: str | None, title: str) -> Zoo:
    """The zoo of a data set of the Hub, from the local cache where the Hub is away or refuses.

    Args:
        split: as `load` takes it; also a slice such as `train[:100]`.
        title: the zoo's name.

    Raises:
        LoraPerfError: the data set cannot be had (no network, no such data set, no access, several configurations, no such
            split); what `zoo_of_data` refuses.
    """
    from lora_perf.io.tables.hf import zoo_of_data

    several = split in (None, EVERY) or ("+" in str(split) and "[" not in str(split))
    try:
        target = target_of(name)
        data = fetch(target, None if several else split)
    except LoraPerfError as error:
        if title in ALIASES or not error.expected.startswith(DATA_SET):
            raise
        found = f"no such path here, and as a data set of the Hub: {error.found}"
        raise error.but(expected=f"{name!r} as a path or as {error.expected}", found=found) from None
    zoo = zoo_of_data(data, label_column, split if several else None, title)
    commits = _commits(data)
    if len(commits) == 1 and _COMMIT.fullmatch(commit := commits.pop()):
        zoo.origin = f"hf://datasets/{target.repository}@{commit}"
    return zoo


def fetch(target: Target, split: str | None) -> Any:
    """One split of a data set of the Hub, or all of them as a DatasetDict.

    A Hub that does not answer within a second, or refuses, is not asked again where the data set is in the cache.

    Raises:
        LoraPerfError: the data set cannot be had, or of the revision that is asked for only another one.
    """
    import datasets

    def load() -> Any:
        return datasets.load_dataset(target.repository, split=split, **target.choices)

    trouble: Exception | None = None
    if not datasets.config.HF_HUB_OFFLINE:
        trouble = _asked(target, _SOON)
        if trouble is None:
            try:
                return load()
            except Exception as error:  # the Hub's clients raise dozens of kinds; each that has an advice of its own gets it
                if is_choice(error):
                    raise refusal(target.repository, error) from None
                trouble = error
    try:
        with _offline():
            data = load()
    except Exception as error:  # as above
        if is_choice(error):
            raise refusal(target.repository, error) from None
        if isinstance(trouble, TimeoutError):
            trouble = _asked(target, _PATIENT)
            if trouble is None:
                try:
                    return load()
                except Exception as again:  # as above
                    trouble = again
        raise refusal(target.repository, trouble or error) from None
    if target.revision not in (None, _NEWEST):
        _refuse_other_revision(target, data, trouble)
    if trouble is not None:
        said = first_line(trouble)
        _log.warning("%s is taken from the local cache, since the Hub cannot be asked: %s", target.repository, said)
    return data


def _refuse_other_revision(target: Target, data: Any, trouble: Exception | None) -> None:
    """Raises where the local cache gave another commit than the one that is asked for: `datasets` does not look at it there."""
    from huggingface_hub import constants, errors

    if isinstance(trouble, errors.RevisionNotFoundError):
        raise refusal(target.repository, trouble)
    wanted = str(target.revision)
    reference = Path(constants.HF_HUB_CACHE, f"datasets--{target.repository.replace('/', '--')}", "refs", wanted)
    with suppress(OSError, ValueError):  # a branch or a tag that was fetched once
        wanted = reference.read_text("ascii").strip()
    commits = _commits(data)
    if not commits or any(one != wanted and not (len(wanted) >= _SHORT and one.startswith(wanted)) for one in commits):
        raise LoraPerfError(
            expected=f"{target.repository} at revision {target.revision}",
            found=f"commit {listed(sorted(commits)) or 'unknown'} in the local cache, and the Hub cannot be asked for another",
            fix="leave the revision out to take that one, or load it once where the Hub can be asked",
        )


def _commits(data: Any) -> set[str]:
    """The commits that data sets in the cache are of, by their folders."""
    files = data.cache_files
    parts = files.values() if isinstance(files, dict) else [files]
    return {Path(file["filename"]).parent.name for part in parts for file in part}


def _asked(target: Target, seconds: float) -> Exception | None:
    """What is wrong when the Hub is asked for a data set; None where it knows it. TimeoutError after so many seconds."""
    import datasets
    from huggingface_hub import HfApi

    answer: list[Exception | None] = []

    def ask() -> None:
        try:
            HfApi(endpoint=datasets.config.HF_ENDPOINT).dataset_info(
                target.repository, revision=target.revision, timeout=seconds
            )
            answer.append(None)
        except Exception as error:  # as in `fetch`
            answer.append(error)

    # Names are resolved without any limit of time, so that only a thread of its own can be left waiting.
    thread = threading.Thread(target=ask, daemon=True, name="hub")
    thread.start()
    thread.join(1.2 * seconds)
    found = answer[0] if answer else TimeoutError(f"no answer in {seconds:g} s")
    return TimeoutError(f"no answer in {seconds:g} s") if "Timeout" in type(found).__name__ else found


@contextmanager
def _offline() -> Iterator[None]:
    """In their offline mode the clients answer from the cache at once, where they would retry for half a minute."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
