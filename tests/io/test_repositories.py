"""Repositories of adapters on an imitated Hub: lists of them, one of many, by the real client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from safetensors.torch import save
from torch import Tensor

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.io.repositories import read_list, wanted_of
from tests.io.adapters import factors, tensors
from tests.io.checks import refuses
from tests.io.hubs import Repository, serving


def arrays(seed: int) -> dict[str, Tensor]:
    return tensors(factors(seed))


_ADAPTERS = [save(arrays(seed)) for seed in range(6)]
REPOSITORIES = {
    "ann/cat": Repository({"pytorch_lora_weights.safetensors": _ADAPTERS[0], "README.md": b"a cat"}, "models"),
    "ann/dog": Repository({"dog.safetensors": _ADAPTERS[1]}, "models"),
    "bob/steps": Repository({"step-1.safetensors": _ADAPTERS[2], "step-2.safetensors": _ADAPTERS[3]}, "models"),
    "bob/text": Repository({"README.md": b"nothing"}, "models"),
    "eve/gated": Repository({"a.safetensors": _ADAPTERS[4]}, "models", gated=True),
    "zoe/many": Repository(
        {f"{one}/{i}.safetensors": _ADAPTERS[i + 3 * k] for k, one in enumerate("xy") for i in range(3)}, "models"
    ),
}


@pytest.fixture(autouse=True)
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that are fetched of the Hub."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with serving(REPOSITORIES) as (address, files, _):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield files


def rows_of(*places: int) -> list[list[float]]:
    return lora_perf.load([arrays(place) for place in places]).rows.tolist()


def test_a_list_is_one_adapter_each(fetched: list[str]) -> None:
    zoo = lora_perf.load(["ann/cat", "ann/dog", "bob/steps/step-2.safetensors"])
    assert zoo.rows.tolist() == rows_of(0, 1, 3)
    assert zoo.names == ["ann/cat", "ann/dog", "bob/steps/step-2.safetensors"]
    assert list(zoo.metadata["revision"]) == [REPOSITORIES[name].commit for name in ("ann/cat", "ann/dog", "bob/steps")]
    assert zoo.labels is None
    fetched.clear()
    assert lora_perf.load(["ann/cat", "ann/dog", "bob/steps/step-2.safetensors"]).fingerprint == zoo.fingerprint
    assert fetched == []


def test_classes_may_stand_beside_them(tmp_path: Path) -> None:
    zoo = lora_perf.load([("ann/cat", "cat"), ("ann/dog", "dog")])
    assert [zoo.classes[label] for label in zoo.required_labels.tolist()] == ["cat", "dog"]
    assert lora_perf.load({"ann/cat": "cat", "ann/dog": "dog"}).fingerprint == zoo.fingerprint
    path = tmp_path / "loras.txt"
    path.write_text("# mine\nann/cat, cat\n\nhf://ann/dog,dog\n")
    found = lora_perf.load(path)
    assert found.fingerprint == zoo.fingerprint
    assert found.name == "loras"


def test_a_list_is_packed_like_any_source(tmp_path: Path) -> None:
    path = tmp_path / "loras.txt"
    path.write_text("ann/cat\nann/dog\n")
    assert lora_perf.load(lora_perf.pack(path, tmp_path / "zoo.safetensors")).names == ["ann/cat", "ann/dog"]


def test_an_address_is_all_adapters_of_a_repository() -> None:
    zoo = lora_perf.load("hf://zoe/many")
    assert zoo.rows.tolist() == rows_of(0, 1, 2, 3, 4, 5)
    assert zoo.classes == ["x", "y"]
    assert zoo.origin == f"hf://zoe/many@{REPOSITORIES['zoe/many'].commit}"
    assert lora_perf.load(f"hf://zoe/many@{REPOSITORIES['zoe/many'].commit}").fingerprint == zoo.fingerprint
    assert len(lora_perf.load("hf://bob/steps/step-1.safetensors")) == 1


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (["ann/cat", "bob/steps"], "one adapter in bob/steps; found 2: step-1.safetensors, step-2.safetensors; name it"),
        (["bob/text"], "an adapter .* in bob/text; found README.md"),
        (["eve/gated"], "eve/gated of the Hugging Face Hub; found a gated one"),
        (["ann/nobody"], "found none of this name"),
        (["ann/cat@v9"], "found no such revision"),
        (["ann/dog/cat.safetensors"], "cat.safetensors in ann/dog; found dog.safetensors"),
        ([("ann/cat", "cat"), "ann/dog"], "a class for all repositories or for none; found none for ann/dog"),
        (["ann/cat", "ann cat"], "as entry 2 of the list"),
        ("hf://bob/text", "an adapter .* in bob/text"),
        ("hf://datasets/a/b/c.parquet", "leave the path of its files out"),
    ],
)
def test_what_cannot_be_had_is_one_line(source: object, told: str) -> None:
    refuses(source, told)


def test_bad_ones_are_left_out_if_asked(caplog: pytest.LogCaptureFixture) -> None:
    zoo = lora_perf.load(["ann/cat", "eve/gated", "bob/text", "ann/dog"], skip_bad=True)
    assert zoo.names == ["ann/cat", "ann/dog"]
    assert "eve/gated is left out: found a gated one" in caplog.text
    with pytest.raises(LoraPerfError, match="none of 2 repositories"):
        lora_perf.load(["eve/gated", "bob/text"], skip_bad=True)


def test_lists_are_read_with_care(tmp_path: Path) -> None:
    path = tmp_path / "loras.txt"
    path.write_text("")
    with pytest.raises(LoraPerfError, match="at least one repository"):
        read_list(path)
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(LoraPerfError, match="a list of repositories at"):
        read_list(path)
    path.write_text("https://huggingface.co/a/b")
    with pytest.raises(LoraPerfError, match="as entry 1"):
        read_list(path)
    assert str(wanted_of(["a/b@v1/c/d.safetensors"], "it")[0]) == "a/b@v1/c/d.safetensors"
