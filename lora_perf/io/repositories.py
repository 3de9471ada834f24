"""Repositories of the Hub that hold adapters: a list of them, one adapter each, or one of many, as a folder of files.

The files are fetched once, into a folder of their own beside the Hub's caches, and read from there as any folder is.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import xxhash

from lora_perf.core.errors import LoraPerfError, first_line, listed
from lora_perf.core.metadata import Column
from lora_perf.core.text import counted
from lora_perf.core.zoo import Zoo
from lora_perf.io.atomic import replacing
from lora_perf.io.claims import claim
from lora_perf.io.files.tree import ADAPTER, DESCRIPTION, PEFT_CONFIG, TABLES
from lora_perf.io.members import DEFAULT_COLUMN

SCHEME = "hf://"
_LINE = re.compile(
    r"(?:hf://(?:models/)?)?(?P<repository>[\w-][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>[^\s,]+\.safetensors))?"
)
# How tools call the one adapter of a repository, where it holds other files too.
_USUAL = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
_AT_ONCE = 8  # files that are fetched
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """An adapter of the Hub: OWNER/NAME, OWNER/NAME@REVISION, or these with /FILE.safetensors; and its class, if any."""

    repository: str
    revision: str | None = None
    file: str | None = None
    label: str | None = None

    def __str__(self) -> str:
        return self.repository + f"@{self.revision}" * bool(self.revision) + f"/{self.file}" * bool(self.file)


def wanted_of(lines: Iterable[str | tuple[str, str]] | Mapping[str, Any], where: str) -> list[Wanted]:
    """The adapters of a list: a repository each, or pairs of a repository and a class.

    >>> wanted_of(["a/b", ("c/d@v1", "cat")], "list")[1]
    Wanted(repository='c/d', revision='v1', file=None, label='cat')

    Raises:
        LoraPerfError: something else in it, or nothing.
    """
    found = []
    for number, line in enumerate(lines.items() if isinstance(lines, Mapping) else lines, start=1):
        name, label = line if isinstance(line, tuple) else (line, None)
        match = _LINE.fullmatch(str(name).strip())
        if match is None:
            raise LoraPerfError(
                expected=f"OWNER/NAME, with @REVISION or /FILE.safetensors behind it, as entry {number} of {where}",
                found=repr(name),
                fix="write one repository of the Hub a line, with its class behind a comma if it has one",
            )
        found.append(Wanted(match["repository"], match["revision"], match["file"], None if label is None else str(label)))
    if not found:
        raise LoraPerfError(expected=f"at least one repository in {where}", found="none", fix="write one a line")
    return found


def read_list(path: Path) -> list[Wanted]:
    """The adapters of a text file: a repository a line, with its class behind a comma; # begins a remark."""
    try:
        rows = csv.reader(io.StringIO(path.read_text("utf-8")))
        lines = [[value.strip() for value in row] for row in rows if row and not row[0].lstrip().startswith("#")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LoraPerfError(
            expected=f"a list of repositories at {path}", found=first_line(error, "no text"), fix="write one a line"
        ) from None
    return wanted_of([(row[0], row[1]) if len(row) > 1 and row[1] else row[0] for row in lines if any(row)], str(path))


def folder_of(wanted: Sequence[Wanted], skip_bad: bool) -> Path:
    """Fetches adapters into a folder: `OWNER--NAME/FILE`, with a metadata.csv of repositories, revisions and classes.

    Args:
        skip_bad: leave out those that cannot be had, with a warning each.

    Raises:
        LoraPerfError: a repository that cannot be had, or that holds no adapter or several.
    """
    root = _root([str(one) for one in wanted])
    classes = {one.label is None for one in wanted}
    if len(classes) > 1:
        raise LoraPerfError(
            expected="a class for all repositories or for none",
            found=f"none for {next(str(one) for one in wanted if one.label is None)}",
            fix="write a class behind each",
        )

    def fetch(one: Wanted) -> list[str] | LoraPerfError:
        try:
            commit, files = _files(one.repository, one.revision)
            file = one.file or _the_adapter(one, files)
            place = f"{one.repository.replace('/', '--')}/{file}"
            _download(one.repository, commit, file, files, root)
            called = one.repository + f"/{file}" * bool(one.file)
            return [place, called, commit, *([one.label] if one.label is not None else [])]
        except LoraPerfError as error:
            return error

    with claim(root), ThreadPoolExecutor(_AT_ONCE, "hub") as pool:
        rows = []
        for one, row in zip(wanted, pool.map(fetch, wanted), strict=True):
            if isinstance(row, list):
                rows.append(row)
            elif skip_bad:
                _log.warning("%s is left out: found %s", one, row.found)
            else:
                pool.shutdown(cancel_futures=True)
                raise row
        if not rows:
            found = f"none of {counted(len(wanted), 'repository', 'repositories')}"
            raise LoraPerfError(expected="adapters of the Hub", found=found, fix="check their names")
        names = ["file_name", "repository", "revision", *([DEFAULT_COLUMN] if len(rows[0]) > 3 else [])]
        _write(root / "metadata.csv", [names, *rows])
    return root


def folder_of_one(repository: str, revision: str | None) -> tuple[Path, str]:
    """Fetches all adapters of one repository into a folder as they lie in it; the folder, and the commit.

    Raises:
        LoraPerfError: it cannot be had, or holds no adapter.
    """
    root = _root([f"{repository}@{revision}"])
    commit, files = _files(repository, revision)
    adapters = [file for file in files if file.lower().endswith(ADAPTER)]
    if not adapters:
        raise _no_adapter(repository, files)
    beside = [file for file in files if PurePosixPath(file).name in (PEFT_CONFIG, DESCRIPTION, *TABLES)]
    with claim(root), ThreadPoolExecutor(_AT_ONCE, "hub") as pool:
        list(pool.map(lambda file: _get(repository, commit, file, root), [*adapters, *beside]))
    return root, commit


def open_list(wanted: Sequence[Wanted], *, label_column: str | None, skip_bad: bool, name: str) -> Zoo:
    """The zoo of a list of repositories, named by these."""
    zoo = _of_folder(folder_of(wanted, skip_bad), label_column, skip_bad)
    zoo.name = name
    if "repository" in zoo.metadata:
        zoo.given_names = Column([str(one) for one in zoo.metadata["repository"]])
    return zoo


def open_repository(address: str, *, label_column: str | None, skip_bad: bool) -> Zoo:
    """The zoo of all adapters of `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`, or of the one whose file is named."""
    (wanted,) = wanted_of([address], "the address")
    if wanted.file is not None:
        return open_list([wanted], label_column=None, skip_bad=False, name=wanted.repository)
    folder, commit = folder_of_one(wanted.repository, wanted.revision)
    zoo = _of_folder(folder, label_column, skip_bad)
    zoo.name, zoo.origin = wanted.repository, f"{SCHEME}{wanted.repository}@{commit}"
    return zoo


def _of_folder(folder: Path, label_column: str | None, skip_bad: bool) -> Zoo:
    from lora_perf.io.opening import open_found
    from lora_perf.io.paths import find

    return open_found(find(folder, None), label_column, None, skip_bad)


def _root(names: Sequence[str]) -> Path:
    from huggingface_hub import constants

    key = xxhash.xxh3_64_hexdigest("\n".join(names).encode())
    return Path(constants.HF_HOME) / "lora_perf" / f"adapters-{key}"


def _files(repository: str, revision: str | None) -> tuple[str, list[str]]:
    """The commit of a repository, and its files."""
    from huggingface_hub import HfApi

    def ask() -> tuple[str, list[str]]:
        info = HfApi().model_info(repository, revision=revision, timeout=10)
        return str(info.sha), [one.rfilename for one in info.siblings or []]

    return _or_refuse(repository, ask)


def _the_adapter(one: Wanted, files: Sequence[str]) -> str:
    adapters = [file for file in files if file.lower().endswith(ADAPTER)]
    usual = [file for file in adapters if file in _USUAL]
    if len(usual) == 1:
        return usual[0]
    if len(adapters) != 1:
        if not adapters:
            raise _no_adapter(one.repository, files)
        raise LoraPerfError(
            expected=f"one adapter in {one.repository}",
            found=f"{len(adapters)}: {listed(adapters, 3)}",
            fix=f"name it, as {one.repository}/{adapters[0]}, or take all of them as {SCHEME}{one.repository}",
        )
    return adapters[0]


def _no_adapter(repository: str, files: Sequence[str]) -> LoraPerfError:
    return LoraPerfError(
        expected=f"an adapter (.safetensors) in {repository}", found=listed(files, 3) or "no file", fix="leave it out"
    )


def _download(repository: str, commit: str, file: str, files: Sequence[str], root: Path) -> None:
    folder = root / repository.replace("/", "--")
    config = str(PurePosixPath(file).with_name(PEFT_CONFIG))
    for one in (file, config):
        if one in files:
            _get(repository, commit, one, folder)
        elif one == file:
            raise LoraPerfError(expected=f"{file} in {repository}", found=listed(files, 3) or "no file", fix="check its name")


def _get(repository: str, commit: str, file: str, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    _or_refuse(repository, lambda: hf_hub_download(repository, file, revision=commit, local_dir=folder))


def _or_refuse(repository: str, ask: Callable[[], T]) -> T:
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError:
        found, fix = "a gated one, and no access to it", "ask for access on its page, then log in with `hf auth login`"
    except errors.RevisionNotFoundError:
        found, fix = "no such revision of it", "name a branch, a tag or a commit behind the @, or leave it out"
    except errors.RepositoryNotFoundError:
        found, fix = "none of this name that can be seen from here", "check the spelling; for a private one `hf auth login`"
    except Exception as error:  # the Hub's clients raise dozens of kinds
        found = f"no way to get it here ({first_line(error, type(error).__name__)})"
        fix = "try again; what was fetched is kept"
    raise LoraPerfError(expected=f"the repository {repository} of the Hugging Face Hub", found=found, fix=fix)


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())
