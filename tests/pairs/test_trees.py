"""Which commit is the base."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lora_perf.core.errors import LoraPerfError
from lora_perf.pairs import trees


def git(root: Path, *words: str) -> str:
    settings = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *settings, *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def test_the_base_is_where_the_branch_left_main(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "first")
    left = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "switch", "--quiet", "--create", "branch")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "second")
    found = trees.base_revision(tmp_path, None)
    assert found.commit == left
    assert "merge base with main" in str(found)


def test_a_base_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match=r"HEAD has a commit in common.*name the commit to compare with by --base"):
        trees.base_revision(tmp_path, None)
