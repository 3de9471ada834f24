"""Why a data set of the Hub cannot be had, and what to do about each reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lora_perf.core.errors import LoraPerfError, first_line

# How the expectation of a data set that cannot be had begins.
DATA_SET = "the data set"
# The messages of `datasets` in which several splits or configurations are named.
_SPLITS = re.compile(r"(Unknown split|Bad split:).*?\[(?P<names>.*?)\]", re.DOTALL)
_CONFIGS = (
    re.compile(r"multiple .* configurations in the cache: (?P<names>.*)"),
    re.compile(r"Config name is missing.*?\[(?P<names>.*?)\]", re.DOTALL),
    re.compile(r"BuilderConfig .* not found.*?\[(?P<names>.*?)\]", re.DOTALL),
    re.compile(r"Available configs in the cache: \[(?P<names>.*?)\]", re.DOTALL),
)


def is_choice(error: Exception) -> bool:
    """Whether a data set is there, and it is the split or the configuration that is wrong."""
    text = str(error)
    return bool(_SPLITS.search(text)) or any(pattern.search(text) for pattern in _CONFIGS)


def refusal(repository: str, error: Exception) -> LoraPerfError:
    """The error for the user."""
    from huggingface_hub import errors

    expected = f"{DATA_SET} {repository} from the Hugging Face Hub"
    text = str(error)
    if match := _SPLITS.search(text):
        return LoraPerfError(
            expected=f"a split of {repository}", found=f"the splits {_names(match)}", fix="choose one with split=..."
        )
    for pattern in _CONFIGS:
        if match := pattern.search(text):
            return LoraPerfError(
                expected=f"one configuration of {repository}",
                found=f"the configurations {_names(match)}",
                fix=f"choose one behind a colon, as {repository}:{_names(match).split(', ')[0]}",
            )
    causes = list(_causes(error))
    status = next((code for cause in causes if (code := _status(cause)) is not None), None)

    def is_one(kind: type[Exception]) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    if is_one(errors.GatedRepoError) or "gated dataset" in text:
        found = "a gated data set, and no access to it"
        fix = f"ask for access at https://huggingface.co/datasets/{repository}, then log in with `hf auth login`"
    elif is_one(errors.RevisionNotFoundError) or re.search(r"Revision .* doesn't exist", text):
        found = "no such revision of it"
        fix = "name a branch, a tag or a commit behind the @, or leave it out"
    elif is_one(errors.RepositoryNotFoundError) or status == 404 or "doesn't exist on the Hub" in text:
        found = "no data set of this name that can be seen from here"
        fix = "check the spelling of the id or of the path; for a private data set log in with `hf auth login`"
    elif status in (401, 403):
        found = f"no permission (status {status})"
        fix = "log in again with `hf auth login`, with a token that may read this data set"
    elif "scripts are no longer supported" in text:
        found = "a data set that is made by a script, which is never run"
        fix = "ask for its parquet files (the branch refs/convert/parquet, "
        fix += f"as {repository}@refs/convert/parquet), or load a folder of the files themselves"
    elif "data files" in text.lower() or type(error).__name__ in ("EmptyDatasetError", "DataFilesNotFoundError"):
        found = f"no table in it ({first_line(error, 'no message')})"
        fix = f"fetch its files with `hf download {repository} --repo-type dataset --local-dir FOLDER` and load FOLDER"
    else:
        reason = f"status {status}" if status is not None else f"{type(error).__name__}: {first_line(error, 'no message')}"
        found = f"no way to get it here ({reason}), and nothing of it in the local cache nor a path of this name"
        fix = f"on a machine with a network run `hf download {repository} --repo-type dataset --local-dir FOLDER`, "
        fix += "bring FOLDER here and load it by its path"
    return LoraPerfError(expected=expected, found=found, fix=fix)


def _names(match: re.Match[str]) -> str:
    names = [name.strip(" '\"\n") for name in match["names"].split(",")]
    return ", ".join(sorted(name for name in names if name))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
