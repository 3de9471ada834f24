"""The rules of folders on names that nobody thought of."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.files.declared import shards_of
from lora_perf.io.files.tree import Tree, walk

PARTS = st.sampled_from(["cat", "dog", "Train", "_old", ".git", "a=b", "_day=1", "x y", "\u00e9"])
FILES = st.sampled_from(
    ["a.safetensors", "B.SAFETENSORS", "_c.safetensors", ".d.safetensors", "e.parquet", "F.Parquet", "g.txt"]
)
PATHS = st.tuples(st.lists(PARTS, max_size=3), FILES).map(lambda both: "/".join([*both[0], both[1]]))


def is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


@given(st.sets(PATHS, max_size=8))
def test_a_walk_finds_what_has_an_ending_and_no_hidden_name(paths: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, path).touch()
        tree = walk(folder)
    shown = [path for path in paths if not any(map(is_hidden, path.split("/")))]
    for found, ending in ((tree.adapters, ".safetensors"), (tree.parquet, ".parquet")):
        expected = [path for path in shown if path.lower().endswith(ending)]
        assert found == sorted(expected, key=lambda path: PurePosixPath(path).parts)


@given(st.integers(1, 4), st.sets(st.integers(0, 5), min_size=1), st.sampled_from(["train-", "data/", "x_"]))
@example(1, {0}, "data/")
def test_a_declared_set_is_read_exactly_where_it_is_whole(total: int, indices: set[int], start: str) -> None:
    paths = [f"{start}{index:05d}-of-{total:05d}.parquet" for index in sorted(indices)]
    try:
        found = [path for path, _ in shards_of(Tree(parquet=paths), "folder", None, paths)]
    except LoraPerfError:
        assert indices != set(range(total))
    else:
        assert (found, indices) == (paths, set(range(total)))


@given(
    st.lists(
        st.tuples(st.sampled_from(["train", "test", "dev"]), st.integers(1, 3)),
        min_size=1,
        max_size=3,
        unique_by=lambda both: both[0],
    )
)
def test_every_split_of_whole_sets_has_its_part(splits: list[tuple[str, int]]) -> None:
    parts = {"train": 0, "dev": 1, "test": 2}
    by_name = dict(splits)
    paths = sorted(f"{name}-{index:05d}-of-{total:05d}.parquet" for name, total in by_name.items() for index in range(total))
    found = shards_of(Tree(parquet=paths), "folder", None, paths)
    own = len(by_name) > 1
    assert found == [(path, parts[path.split("-")[0]] if own else None) for path in paths]
