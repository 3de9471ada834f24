"""audit.html: its sentences and figures are the numbers, it needs no network, names mean nothing to it."""

from __future__ import annotations

import re

import pytest

import lora_perf
from lora_perf import Zoo
from lora_perf.audit import GAUGES, Audit
from lora_perf.audit.html import command, drops, told
from lora_perf.audit.movement import short
from tests.representations.learned.updates import planted

NAMES = ["stats", "dw_norms", "dw_kernel"]


@pytest.fixture(scope="module")
def found() -> Audit:
    return lora_perf.audit.run(planted(60, rank=2), representations=NAMES, classifiers=["ridge", "knn"])


def test_the_sentences_are_the_numbers(found: Audit) -> None:
    stats = found.representations[0]
    farthest = max(stats.movements.values(), key=lambda one: one.relative.largest).relative.largest
    losses = drops(found)
    first, second, third = told(found, losses)
    assert first.startswith("Of 3 representations 1 moves when ")
    assert f"stats farthest: by {short(farthest)} of its own size" in first
    worst = max(reading.drop[gauge].mean for one in found.representations for reading in one.readings for gauge in GAUGES)
    (named,) = re.findall(r"^(\w+) read by (\w+) loses most, ([0-9.]+) \[.*\] of ([0-9.]+) in (\w+);", second)
    name, classifier, drop, original, gauge = named
    (reading,) = [
        one
        for audited in found.representations
        for one in audited.readings
        if (audited.name, one.classifier) == (name, classifier)
    ]
    assert drop == f"{worst:.3f}" == f"{reading.drop[gauge].mean:.3f}"
    assert original == f"{reading.original.mean:.3f}"
    best = max(reading.original.mean for one in found.representations[1:] for reading in one.readings)
    assert f"is right most often, {best:.3f} [" in third


def test_drops_are_corrected_all_together(found: Audit) -> None:
    losses = drops(found)
    assert len(losses) == 3 * 2 * len(GAUGES)
    ps = [one.drop.p for one in losses]
    order = sorted(range(len(ps)), key=ps.__getitem__)
    least, right = 0.0, [0.0] * len(ps)
    for place, at in enumerate(order):
        least = max(least, min(1.0, (len(ps) - place) * ps[at]))
        right[at] = least
    assert [one.holm for one in losses] == pytest.approx(right)
    stand = sum(one.stands for one in losses)
    assert f"of {len(losses)} drops {stand} stand" in told(found, losses)[1]


def test_maps_tell_every_movement_and_every_drop(found: Audit) -> None:
    titles = re.findall(r"<title>([^<]*)</title>", found.to_html())
    for one in found.representations:
        for gauge in GAUGES:
            moved = one.movements[gauge].relative
            assert f"{one.name}, {gauge}: largest {short(moved.largest)}, median {short(moved.median)}" in titles
            for reading in one.readings:
                start = f"{one.name}, {reading.classifier}, {gauge}: {reading.original.mean:.3f} as trained, "
                (told_of,) = [title for title in titles if title.startswith(start)]
                assert f"drop {reading.drop[gauge].mean:+.3f} [" in told_of


def test_the_page_needs_no_network_and_names_mean_nothing_to_it() -> None:
    zoo = planted(60)
    named = Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, name="<script>\x1b</script>")
    page = lora_perf.audit.run(named, representations=["stats"]).to_html()
    assert not re.search(r"(src|href)=|https?://|@import|url\(", page)
    assert page.count("<script") == 1
    assert "\x1b" not in page


def test_without_labels_movements_are_told_and_no_accuracy_is() -> None:
    zoo = planted(60)
    found = lora_perf.audit.run(Zoo.from_rows(zoo.rows, zoo.layout), representations=["stats", "dw_norms"])
    assert len(told(found, drops(found))) == 2
    page = found.to_html()
    assert "What classifiers lose" not in page
    assert "No labels: how far features move is told, and no accuracy." in page


def test_where_nothing_moves_it_says_so() -> None:
    found = lora_perf.audit.run(planted(60), representations=["dw_norms"])
    first, second, _ = told(found, drops(found))
    assert first.startswith("None of 1 representation moves ")
    assert second.startswith("No classifier loses anything; of 4 drops 0 stand ")


def test_the_page_says_how_to_make_it_again(found: Audit) -> None:
    assert command(found).startswith("lora_perf.audit.run(zoo, representations=['stats', 'dw_norms', 'dw_kernel'], ")
    made = lora_perf.audit.run("digits", representations=["dw_norms"], layers="attn1")
    assert command(made) == (
        "lora-perf audit digits --representations dw_norms --layers attn1 --classifiers ridge --adapters test --num-runs 10 "
        "--seed 42 --label-column category_label"
    )
    assert "<td>torch</td>" in made.to_html()
