"""Data sets of the Hub, with and without a network."""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.io.hub import ALIASES, is_hub_id
from lora_perf.io.refusals import refusal
from tests.io.checks import refuses
from tests.io.hubs import cached, hub
from tests.io.tables.forms import adapters, assert_rows, python_rows

REPOSITORY = "somebody/something"


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache and clients that go online, without proxies and without tokens."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no name resolves and no data set was fetched before."""

    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)


def at(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)


def closed_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("name", "repository"), [*ALIASES.items(), ("somebody/something", "somebody/something")])
def test_a_hub_data_set_without_a_network_is_one_clear_error_at_once(name: str, repository: str) -> None:
    start = time.perf_counter()
    refuses(name, f"run `hf download {repository} --repo-type dataset --local-dir FOLDER`")
    assert time.perf_counter() - start < 5


@pytest.mark.usefixtures("offline")
def test_the_clients_of_the_hub_are_online_again_after_an_error() -> None:
    with pytest.raises(LoraPerfError):
        lora_perf.load("1k")
    assert not huggingface_hub.constants.HF_HUB_OFFLINE
    assert not datasets.config.HF_HUB_OFFLINE


def test_a_hub_data_set_is_read_like_any_other(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def load_dataset(repository: str, *, split: str) -> Any:
        asked.append((repository, split))
        return data

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    zoo = lora_perf.load("1k", split="test")
    assert asked == [("jacekduszenko/lora-ws-1k", "test")]
    assert_rows(zoo, python_rows(data))


# A cache, and a Hub that is away or refuses

ANSWERS = {"hangs": 0, "401": 401, "403": 403, "404": 404, "429": 429, "500": 500, "503": 503}


@pytest.mark.parametrize("status", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_cached_data_set_opens_where_the_hub_refuses_or_hangs(
    status: int, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cached(cache, REPOSITORY, {"train": adapters(5)})
    with hub(status) as (address, asked), caplog.at_level(logging.WARNING):
        at(monkeypatch, address)
        zoo = lora_perf.load(REPOSITORY)
        # Once: the clients, left alone, ask again for half a minute.
        assert [path for path in asked if REPOSITORY in path] == [f"/api/datasets/{REPOSITORY}"]
    assert_rows(zoo, python_rows(adapters(5)))
    assert f"{REPOSITORY} is taken from the local cache, since the Hub cannot be asked" in caplog.text


@pytest.mark.parametrize("away", ["nobody listens", "no network", "offline mode"])
def test_a_cached_data_set_opens_without_a_hub(
    away: str, cache: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    cached(cache, REPOSITORY, {"train": adapters(5)})
    if away == "nobody listens":
        at(monkeypatch, closed_port())
    elif away == "no network":
        request.getfixturevalue("offline")
    else:
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert_rows(lora_perf.load(REPOSITORY), python_rows(adapters(5)))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("revision", ["main", "a" * 40, "a" * 7, "v1"])
def test_a_revision_that_is_cached_opens(revision: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(cache, REPOSITORY, {"train": adapters(5), "test": adapters(3)})
    reference = tmp_path / "files" / f"datasets--{REPOSITORY.replace('/', '--')}" / "refs" / "v1"
    reference.parent.mkdir(parents=True)
    reference.write_text("a" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "files"))
    assert_rows(lora_perf.load(f"{REPOSITORY}@{revision}", split="train"), python_rows(adapters(5)))
    assert len(lora_perf.load(f"{REPOSITORY}@{revision}")) == 8


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("revision", ["b" * 40, "b" * 7, "a", "v2", "../refs"])
@pytest.mark.parametrize("split", [None, "train"])
def test_another_revision_is_not_taken_for_the_one_that_is_asked_for(revision: str, split: str | None, cache: Path) -> None:
    cached(cache, REPOSITORY, {"train": adapters(5)})
    refuses(
        f"{REPOSITORY}@{revision}",
        rf"at revision {revision}; found commit a{{40}} in the local cache, and the Hub",
        split=split,
    )


@pytest.mark.usefixtures("offline")
def test_the_splits_of_the_hub_are_the_split_of_the_zoo(cache: Path) -> None:
    cached(cache, REPOSITORY, {"train": adapters(5), "test": adapters(3, seed=2)})
    zoo = lora_perf.load(REPOSITORY)
    assert zoo.split.tolist() == [0] * 5 + [2] * 3
    assert len(lora_perf.load(REPOSITORY, split="test")) == 3
    assert len(lora_perf.load(REPOSITORY, split="train[:2]")) == 2
    assert len(lora_perf.load(REPOSITORY, split="train+test")) == 8


@pytest.mark.usefixtures("offline")
def test_an_unknown_split_of_the_hub_lists_those_there_are(cache: Path) -> None:
    cached(cache, REPOSITORY, {"train": adapters(2), "test": adapters(2)})
    refuses(REPOSITORY, f"a split of {REPOSITORY}; found the splits test, train; choose one with split=", split="dev")


@pytest.mark.usefixtures("offline")
def test_several_configurations_are_listed_and_one_is_chosen_behind_a_colon(cache: Path) -> None:
    for config, n in (("small", 2), ("large", 4)):
        cached(cache, REPOSITORY, {"train": adapters(n)}, config)
    refuses(REPOSITORY, f"found the configurations large, small; choose one .*, as {REPOSITORY}:large")
    assert len(lora_perf.load(f"{REPOSITORY}:small")) == 2


# Refusals

REFUSALS = {
    "missing": (404, {"X-Error-Code": "RepoNotFound"}, "no data set of this name that can be seen from here"),
    "gated": (403, {"X-Error-Code": "GatedRepo"}, "a gated data set, and no access to it; ask for access at "),
    "revision": (404, {"X-Error-Code": "RevisionNotFound"}, "no such revision of it; name a branch, a tag or a commit"),
    "forbidden": (403, {}, "no permission .status 403.; log in again with `hf auth login`"),
    "broken": (503, {}, "no way to get it here .status 503., and nothing of it in the local cache"),
}


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("status", "headers", "found"), REFUSALS.values(), ids=REFUSALS.keys())
def test_each_refusal_of_the_hub_has_its_own_advice(
    status: int, headers: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(status, headers) as (address, _):
        at(monkeypatch, address)
        refuses(
            f"{REPOSITORY}@main",
            f"the data set {REPOSITORY} from the Hugging Face Hub; found no such path here, and .*: {found}",
        )


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("Config name is missing.\nPlease pick one among the available configs: ['a', 'b']\nExample", "configurations a, b"),
        ("BuilderConfig 'c' not found. Available: ['a', 'b']", "configurations a, b"),
        ("Unknown split \"dev\". Should be one of ['train', 'test'].", "splits test, train"),
        ("Dataset scripts are no longer supported, but found something.py", "made by a script, which is never run"),
        ("No (supported) data files found in somebody/something", "no table in it"),
    ],
)
def test_each_complaint_of_the_library_has_its_own_advice(message: str, found: str) -> None:
    assert found in str(refusal(REPOSITORY, ValueError(message)))


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *((name, True) for name in ("a/b", "a/b:c", "a/b@main", "a/b:c@refs/convert/parquet", "some-one/some.thing_1")),
        *((name, False) for name in ("a", "a/b/c", "./b", "a/b:", "a/b@", "", "a b/c", "../b")),
    ],
)
def test_names_of_the_hub(name: str, known: bool) -> None:
    assert is_hub_id(name) is known
