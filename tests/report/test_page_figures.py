"""Figures of report.html: their numbers are those of a calculation by hand, names mean nothing to them."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.classifiers.metrics import Estimate
from lora_perf.core.charts import colour, key, ticks
from lora_perf.report.cells import CellResult
from lora_perf.report.comparisons import holm
from lora_perf.report.costs import Priced, costs, frontier, priced
from lora_perf.report.falls import class_falls, class_scores, falls, kept_shares, retention, waterfalls
from lora_perf.report.learning import gap, learned_by_epochs, learning, losses
from lora_perf.report.maps import ZooMap
from lora_perf.report.ranking import joined, rank_axis
from lora_perf.report.results import Results
from lora_perf.report.zoo_figure import mapped, misread, zoo_map
from tests.report.test_report import TRUTH, cell, results

BAD = '<script>alert("x")</script>\x1b'


def rectangles(drawn: str) -> list[tuple[float, float]]:
    """Top and height of each rectangle of drawings."""
    return [(float(y), float(h)) for y, h in re.findall(r'<rect[^>]* y="([^"]*)"[^>]* height="([^"]*)"', drawn)]


def whole(drawn: str) -> None:
    """Drawings are XML, and no number in them is none."""
    for one in re.findall(r"<svg.*?</svg>", drawn, re.DOTALL):
        ElementTree.fromstring(one)
    assert not re.search(r'="[^"]*\b(nan|inf)\b', drawn)
    assert "<script" not in drawn
    assert "\x1b" not in drawn


@pytest.fixture
def three_groups() -> Results:
    """The second group is stronger than the first."""
    cells = [cell("stats", group, "ridge", right) for group, right in (("all", 30), ("visual", 36), ("up", 14))]
    cells += [cell("norm", group, "ridge", right) for group, right in (("all", 11), ("visual", 9), ("up", 10))]
    return results(["all", "visual", "up"], cells)


def test_falls_begin_at_the_strongest_group(three_groups: Results) -> None:
    stats, norm = falls(three_groups)
    assert (stats.representation, stats.strongest, stats.score.mean) == ("stats", "visual", 36 / 40)
    assert [step.group for step in stats.steps] == ["all", "up"]
    assert [step.fall.mean for step in stats.steps] == pytest.approx([6 / 40, 22 / 40])
    assert (norm.strongest, [step.group for step in norm.steps]) == ("all", ["up", "visual"])
    # Any group could have been the strongest: all three pairs of each representation are corrected together.
    pairs = [
        three_groups.drop(one.representation, second, "ridge", reference=first)
        for one, order in ((stats, ("visual", "all", "up")), (norm, ("all", "up", "visual")))
        for first, second in combinations(order, 2)
    ]
    corrected = holm([pair.p for pair in pairs if pair])
    assert len(corrected) == 6
    assert [step.holm for one in (stats, norm) for step in one.steps] == [corrected[k] for k in (0, 1, 3, 4)]


def test_blocks_of_a_waterfall_hang_from_the_strongest_group(three_groups: Results) -> None:
    drawn = waterfalls(three_groups, "ridge")
    whole(drawn)
    stats = rectangles(drawn)[:5]  # the strongest, then what is left and what is lost of two groups
    (top, high), *rest = stats
    for share, (kept, lost) in zip((30 / 36, 14 / 36), (rest[:2], rest[2:]), strict=True):
        assert lost[0] == pytest.approx(top)
        assert kept[1] == pytest.approx(share * high, abs=0.2)
        assert kept[1] + lost[1] == pytest.approx(high, abs=0.2)
    assert ">-0.150</text>" in drawn
    assert ">-0.550</text>" in drawn


def test_scores_below_zero_stay_inside_of_a_waterfall(three_groups: Results) -> None:
    class Below(Results):
        def accuracy(self, *at: str, **how: object) -> Estimate | None:  # type: ignore[override]
            found = super().accuracy(*at, **how)  # type: ignore[arg-type]
            return found and replace(found, mean=found.mean - 0.5, low=found.low - 0.5, high=found.high - 0.5)

    drawn = waterfalls(Below(**{name: getattr(three_groups, name) for name in three_groups.__dataclass_fields__}), "ridge")
    whole(drawn)
    for one in re.findall(r"<svg.*?</svg>", drawn, re.DOTALL):
        bottom = float(re.findall(r'viewBox="0 0 \S+ ([^"]*)"', one)[0])
        assert all(y >= 0 and y + h <= bottom for y, h in rectangles(one))


def test_what_is_kept_is_counted_above_chance(three_groups: Results) -> None:
    (stats, kept), (norm, nothing) = kept_shares(three_groups, "ridge")
    assert (stats, norm) == ("stats", "norm")
    assert kept == pytest.approx({"visual": (36 - 10) / (30 - 10), "up": (14 - 10) / (30 - 10)})
    assert nothing == {"visual": None, "up": None}  # 11 of 40 is no more than chance
    drawn = retention(three_groups)
    whole(drawn)
    assert ">130%</text>" in drawn
    assert ">20%</text>" in drawn
    assert drawn.count(">none</text>") == 2


def with_confusions(found: Results, names: list[str]) -> Results:
    cells = []
    for one in found.cells:
        runs = []
        for run in one.runs:
            table = np.zeros((4, 4), int)
            for true, said in zip(TRUTH, run.predictions, strict=True):
                table[true, said] += 1
            runs.append(replace(run, confusion=table.tolist()))
        cells.append(replace(one, runs=runs))
    return replace(found, cells=cells, dataset=found.dataset | {"classes": names})


def test_each_class_has_its_share_in_each_group(three_groups: Results) -> None:
    found = with_confusions(three_groups, ["a", "b", BAD, "d"])
    best = found.cells[0]
    scores = class_scores(found, best)
    assert list(scores) == ["all", "visual", "up"]
    for group, right in (("all", 30), ("up", 14)):
        expected = [np.mean((np.arange(40) < right)[c::4]) for c in range(4)]
        assert scores[group].tolist() == pytest.approx(expected)
    drawn = class_falls(found, best)
    whole(drawn)
    assert "&lt;script&gt;" in drawn
    lost = sorted((float(scores["all"][c] - scores["up"][c]) for c in range(4)), reverse=True)
    assert [float(one) for one in re.findall(r">(-0\.\d{3})</text></g>", drawn)] == pytest.approx(
        [-one for one in lost], abs=1e-3
    )


def test_a_class_without_a_test_adapter_is_left_out(three_groups: Results) -> None:
    found = with_confusions(three_groups, list("abcd"))
    cells = [
        replace(one, runs=[replace(run, confusion=[[*row, 0] for row in run.confusion] + [[0] * 5]) for run in one.runs])
        for one in found.cells
    ]
    found = replace(found, cells=cells, dataset=found.dataset | {"classes": list("abcde")})
    assert np.isnan(class_scores(found, cells[0])["all"][4])
    drawn = class_falls(found, cells[0])
    whole(drawn)
    assert ">e</text>" not in drawn


def test_nothing_drops_in_a_single_group() -> None:
    alone = results(["all"], [cell("stats", "all", "ridge", 30)])
    assert falls(alone) == []
    assert waterfalls(alone, "ridge") == retention(alone) == class_falls(alone, alone.cells[0]) == ""


@given(st.lists(st.floats(1, 9), min_size=2, max_size=7), st.floats(0.01, 5))
def test_bars_join_the_largest_sets_within_the_critical_difference(ranks: list[float], critical: float) -> None:
    means = {f"r{place}": rank for place, rank in enumerate(ranks)}
    near = [
        frozenset(some)
        for size in range(2, len(means) + 1)
        for some in combinations(means, size)
        if max(means[one] for one in some) - min(means[one] for one in some) < critical
    ]
    largest = {some for some in near if not any(some < other for other in near)}
    assert {frozenset(some) for some in joined(means, critical)} == largest
    assert len(joined(means, critical)) == len(largest)


def test_ranks_stand_on_their_axis_in_order() -> None:
    means = {"c": 3.25, BAD: 1.5, "b": 2.0, "d": 3.5}
    drawn = rank_axis(means, 0.6)
    whole(drawn)
    at = dict(re.findall(r"<title>([^:]*): mean rank[^<]*</title><path[^>]*/><circle cx=\"([^\"]*)\"", drawn))
    x = {name: float(place) for name, place in at.items()}
    assert len(x) == 4
    assert (x["c"] - x["b"]) / (x["d"] - x["b"]) == pytest.approx(1.25 / 1.5, abs=0.01)
    assert re.findall(r"<title>not told apart: ([^<]*)</title>", drawn)[1] == "c, d"
    whole(rank_axis({"a": 1.5, "b": 1.5}, 0.1))


def by_epochs(name: str, *curves: dict[str, list[float]], best: int = 2) -> CellResult:
    one = cell(name, "all", "mlp", *[30] * len(curves))
    runs = [
        replace(run, curves=each, best_epoch=best, epochs=len(each["train_loss"]))
        for run, each in zip(one.runs, curves, strict=True)
    ]
    return replace(one, runs=runs)


FIRST = {"train_loss": [2.0, 1.0, 0.5], "validation_loss": [2.5, 1.5, 1.6], "validation_accuracy": [0.2, 0.6, 0.5]}
SECOND = {"train_loss": [3.0, 2.0], "validation_loss": [2.0, 1.0], "validation_accuracy": [0.3, 0.7]}


def test_the_gap_is_that_of_the_best_epochs() -> None:
    found = results(["all"], [by_epochs("stats", FIRST, SECOND), by_epochs(BAD, SECOND)])
    assert gap(found.cells[0].runs) == pytest.approx((1.5, 1.25))
    parts = "".join(learning(found, found.cells[0]))
    whole(parts)
    assert "1.500 on the train rows and 1.250 on the validation rows: a gap of -0.250" in parts
    assert parts.count("<svg") == 3
    (shaded,) = re.findall(r'<polygon points="([^"]*)"', losses(found.cells[0]))
    assert len(shaded.split()) == 4  # two epochs of both means: the second run trains no longer


def test_curves_of_before_have_no_gap_and_numbers_that_are_none_are_not_drawn() -> None:
    before = {"train_loss": [2.0, float("nan"), 1.0], "validation_accuracy": [0.2, 0.3, 0.4]}
    found = results(["all"], [by_epochs("stats", before), cell("norm", "all", "ridge", 20)])
    assert gap(found.cells[0].runs) is None
    parts = "".join(learning(found, found.cells[1]))
    whole(parts)
    assert "a gap of" not in parts
    assert "<polygon" not in parts
    assert learned_by_epochs(found, found.cells[1]) == [found.cells[0]]
    assert learning(results(["all"], [cell("norm", "all", "ridge", 20)]), found.cells[1]) == []


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=9))
def test_the_line_of_costs_is_the_most_that_so_much_buys(pairs: list[tuple[int, int]]) -> None:
    cells = [Priced(cost, Estimate(score, score, score, 0, 1), "", True) for cost, score in pairs]
    cells.sort(key=lambda one: (one.cost, -one.score.mean))
    line = frontier(cells)
    for one in cells:
        reached = max(each.score.mean for each in line if each.cost <= one.cost)
        assert reached == max(each.score.mean for each in cells if each.cost <= one.cost)
    assert all(a.score.mean < b.score.mean for a, b in pairwise(line))


def test_costs_are_those_of_the_cells(three_groups: Results) -> None:
    cells = [replace(one, features=10 ** (place + 1), milliseconds=None) for place, one in enumerate(three_groups.cells)]
    found = replace(three_groups, cells=[replace(cells[0], representation=BAD), *cells[1:]])
    assert [one.cost for one in priced(found, "features")] == [10, 100, 1000, 10**4, 10**5, 10**6]
    assert priced(found, "milliseconds") == []
    drawn = costs(found)
    whole(drawn)
    assert drawn.count("<svg") == 1  # all took the same seconds, and what they cost to represent is not known
    x = [float(one) for one in re.findall(r'<circle cx="([^"]*)"', drawn)]
    assert np.diff(sorted(x)) == pytest.approx([np.ptp(x) / 5] * 5, abs=0.11)
    assert costs(results(["all"], [cell("stats", "all", "ridge", 30)])) == ""


def a_map(n: int = 40, **other: object) -> ZooMap:
    told = {"rows": range(100, 100 + n), "adapters": [BAD, *(f"adapter {k}" for k in range(1, n))], "parts": [2] * n}
    told |= {"truth": TRUTH[:n].tolist(), "x": [float(k) for k in range(n)], "y": [float(k * k) for k in range(n)]}
    return ZooMap(**(told | {"shares": (0.5, 0.25), "total": n} | other))  # type: ignore[arg-type]


def test_the_map_names_adapters_and_marks_those_that_are_misread() -> None:
    one = cell("stats", "all", "mlp", 30, 35, 20)
    found = replace(results(["all"], [replace(one, map=a_map()), cell("norm", "all", "mlp", 39, 39, 39)]), rows=range(100, 140))
    best = found.cells[1]
    assert mapped(found, best) == found.cells[0], "the strongest that has a map"
    wrong = misread(found, found.cells[0])
    assert sorted(wrong) == [*range(130, 140)]  # of 30 to 34 two of three runs are wrong, of the others all
    assert wrong[130] == pytest.approx(2 / 3)
    drawn = "".join(zoo_map(found, best))
    whole(drawn)
    assert drawn.count('stroke="var(--ink)" stroke-width="2"') == 10
    assert "adapter 37: b, test, misread by 100% of the runs" in drawn
    assert "50.0% and 25.0% of the variance" in drawn
    assert "drawn at random" not in drawn


def test_a_map_of_some_adapters_says_so_and_one_of_numbers_has_a_scale() -> None:
    numbers = a_map(3, truth=[0.1, 0.2, 0.3], parts=[0, 1, 2], total=9000, x=[1.0, 1.0, 1.0], y=[0.0, 0.0, 0.0])
    found = results(["all"], [replace(cell("stats", "all", "mlp", 30, 35), map=numbers)])
    found = replace(found, dataset=found.dataset | {"task": "numbers", "baseline": {"score": 0.0}})
    assert misread(found, found.cells[0]) == {}
    drawn = "".join(zoo_map(found, found.cells[0]))
    whole(drawn)
    assert "3 of 9,000 adapters, drawn at random" in drawn
    assert "adapter 2: 0.3, test" in drawn
    fills = re.findall(r'r="[35][.5]*"[^>]* fill="([^"]*)"', drawn)
    assert len(set(fills)) == 3
    assert zoo_map(results(["all"], [cell("stats", "all", "mlp", 30, 35)]), found.cells[0]) == []


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(3, 8))
def test_numbers_on_an_axis_are_round_and_inside(low: float, span: float, most: int) -> None:
    span = max(span, 1e-6 * abs(low))  # in so much less than a number is there is no room for round ones
    found = ticks(low, low + span, most)
    assert len(found) <= most
    assert all(low - 1e-6 * span <= one <= low + span * (1 + 1e-6) for one in found)
    steps = np.diff(found)
    assert len(found) < 3 or steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)


def test_colours_of_many_things_differ_and_their_names_break_lines() -> None:
    assert len({colour(number) for number in range(40)}) == 40
    drawn, last = key([(f"class {number}", colour(number)) for number in range(30)], 0, 10, 400)
    assert last > 10
    assert drawn.count("<text") == 30
    assert max(float(x) for x in re.findall(r'<text x="([^"]*)"', drawn)) < 400
