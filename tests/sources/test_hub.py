"""Data sets of the Hub, with and without a network."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import pytest

import lora_perf
from lora_perf.errors import LoraPerfError
from lora_perf.sources.hub import ALIASES
from tests.sources.tables import assert_rows, python_rows


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which no name resolves and no data set was fetched before."""

    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("name", "repository"), [*ALIASES.items(), ("somebody/something", "somebody/something")])
def test_a_hub_data_set_without_a_network_is_one_clear_error_at_once(name: str, repository: str) -> None:
    start = time.perf_counter()
    with pytest.raises(LoraPerfError, match=f"run `hf download {repository} --repo-type dataset --local-dir FOLDER`"):
        lora_perf.load(name)
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

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    zoo = lora_perf.load("1k", split="test")
    assert asked == [("jacekduszenko/lora-ws-1k", "test")]
    assert_rows(zoo, python_rows(data))
