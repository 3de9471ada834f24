"""inspect.html: its sentences and figures are the numbers, it needs no network, names mean nothing to it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf.core.zoo import Zoo
from lora_perf.inspect import Inspection
from lora_perf.inspect.html import command, html_page, told
from tests.conftest import MakeZoo
from tests.inspect.collections import add, clean_folder, moved, turned, wide


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    folder = tmp_path_factory.mktemp("zoo") / "faulty"
    clean_folder(folder)
    for i in range(2):
        (folder / "cat" / f"<script>&{i}.safetensors").write_bytes(b"")
    add(folder, 90, wide(4))
    add(folder, 91, turned(wide(4)))
    add(folder, 93, moved(wide(5), 1e-3))
    add(folder, 98, {module: (down, up * 0) for module, (down, up) in wide(98).items()})
    return lora_perf.inspect.run(folder)


def updates(zoo: Zoo, i: int) -> list[np.ndarray]:
    """dW of each module of an adapter, in float64."""
    return [
        (1.0 if zoo.scales is None else float(zoo.scales[i, j]))
        * (
            zoo.rows[i, module.up.columns].double().view(module.up.shape)
            @ zoo.rows[i, module.down.columns].double().view(module.down.shape)
        ).numpy()
        for j, module in enumerate(zoo.layout.modules)
    ]


def test_norms_and_effective_ranks_are_those_of_dw(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(7)
    scales = torch.rand(7, len(zoo.layout.modules), generator=torch.Generator().manual_seed(1)) + 0.5
    zoo = Zoo.from_rows(zoo.rows.clone(), zoo.layout, scales=scales)
    zoo.rows[3, 0] = torch.nan
    zoo.rows[5] = 0
    found = lora_perf.inspect.run(zoo)
    assert set(found.norms) == {f"adapter {i}" for i in range(7) if i != 3}
    assert set(found.effective_ranks) == {f"adapter {i}" for i in range(7) if i not in (3, 5)}
    for i in (0, 1, 2, 4, 6):
        of_modules = updates(zoo, i)
        norm = np.sqrt(sum(np.square(one).sum() for one in of_modules))
        assert found.norms[f"adapter {i}"] == pytest.approx(norm, rel=1e-9)
        shares = [values / values.sum() for one in of_modules if (values := np.linalg.svd(one, compute_uv=False)).sum() > 0]
        ranks = [np.exp(-sum(x * np.log(x) for x in of_module if x > 1e-9)) for of_module in shares]
        assert found.effective_ranks[f"adapter {i}"] == pytest.approx(np.mean(ranks), rel=1e-5)


def test_the_sentences_are_the_numbers(faulty: Inspection) -> None:
    wrong, repeated, spread = told(faulty)
    bad = {name for one in faulty.problems for name in one.adapters}
    assert wrong.startswith(f"Something is wrong with {len(bad)} of 14 adapters: files that cannot be read (2), ")
    assert repeated.startswith("3 adapters repeat an earlier one, 2 exactly and 1 nearly (cosine of dW of at least 0.99); 1 of")
    norms = [norm for norm in faulty.norms.values() if norm > 0]
    assert spread.startswith(f"|dW| is {median(norms):.3g} at the median and goes from {min(norms):.3g} to {max(norms):.3g}; ")
    assert (
        f"factors of rank 2 make updates of an effective rank of {np.mean([*faulty.effective_ranks.values()]):.2f} " in spread
    )


def test_a_clean_zoo_is_said_to_be_clean() -> None:
    zoo = lora_perf.load("digits")
    found = lora_perf.inspect.run(zoo.select(torch.arange(40)))
    assert told(found)[0] == "Nothing is wrong with 40 adapters."
    assert told(found)[1].startswith("No adapter repeats another: ")
    assert ("Faults and warnings" in found.to_html()) == bool(found.notes)


def test_figures_tell_the_counts(faulty: Inspection) -> None:
    page = faulty.to_html()
    assert page == html_page(faulty)
    titles = re.findall(r"<title>([^<]*)</title>", page)
    (unreadable,) = [one for one in titles if one.startswith("files that cannot be read: ")]
    assert "cat/&lt;script&gt;&amp;0.safetensors" in unreadable
    counts = [int(one) for one in re.findall(r"<title>[^<:]* to [^<:]*: (\d+) adapters? \(", page)]
    norms = [norm for norm in faulty.norms.values() if norm > 0]
    assert sum(counts) == len(norms) + len(faulty.effective_ranks)
    for repeat in faulty.repeats:
        assert f"<td>{repeat.adapter}</td><td>{repeat.of}</td><td>{repeat.kind}</td>" in page


def test_the_page_needs_no_network_and_names_mean_nothing_to_it(faulty: Inspection) -> None:
    named = replace(faulty, name="<script>\x1b</script>", classes={"<b>'\"": 3})
    page = named.to_html()
    assert not re.search(r"(src|href)=|https?://|@import|url\(", page)
    assert page.count("<script") == 1
    assert "<b>" not in page
    assert "\x1b" not in page


def test_the_page_says_how_to_make_it_again(faulty: Inspection, tmp_path: Path) -> None:
    assert command(lora_perf.inspect.run("digits", near=0.95)) == (
        "lora-perf inspect digits --near 0.95 --label-column category_label"
    )
    of_zoo = lora_perf.inspect.run(lora_perf.load("digits").select(torch.arange(9)))
    assert command(of_zoo) == "lora_perf.inspect.run(zoo, near=0.99, label_column='category_label')"
    page = faulty.to_html()
    for name in ("torch", "processor", "near"):
        assert f"<td>{name}</td>" in page


def test_what_holds_no_update_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "a.safetensors").write_bytes(b"")
    found = lora_perf.inspect.run(tmp_path / "zoo")
    assert told(found)[2] == "No update dW that differs from 0 was found."
    assert "cannot be read (1)" in found.to_html()
