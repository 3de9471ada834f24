"""What was learned from one zoo, tested on another: in and out of distribution side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_perf.classifiers.metrics import Estimate, PairedDifference, difference_of
from lora_perf.core.errors import listed
from lora_perf.core.tables import Table
from lora_perf.core.text import counted, printable
from lora_perf.report.wording import with_interval, with_sign

if TYPE_CHECKING:
    from lora_perf.report.results import Results

TRANSFER, NATIVE = "transfer", "native"


@dataclass(frozen=True)
class Transferred:
    """One representation on one group, read by one classifier.

    Attributes:
        within: score on test adapters of the zoo that was learned from.
        beyond: score of the same on those of the other zoo.
        native: score on the very same of what was learned there; None where that could not be divided.
        loss: native less beyond, paired.
    """

    representation: str
    group: str
    classifier: str
    within: Estimate
    beyond: Estimate
    native: Estimate | None
    loss: PairedDifference | None


def transferred(results: Results) -> list[Transferred]:
    """All cells that were tested on another zoo, the strongest there first."""
    found = []
    for cell in results.first:
        key = cell.representation, cell.group, cell.classifier
        within, beyond = (results.accuracy(*key, divisions=[name]) for name in ("", TRANSFER))
        if cell.shuffled or within is None or beyond is None:
            continue
        native = results.accuracy(*key, divisions=[NATIVE])
        there, here = (results.answers(*key, divisions=[name]) for name in (NATIVE, TRANSFER))
        loss = difference_of(there, here) if there else None
        found.append(Transferred(*key, within, beyond, native, loss))
    return sorted(found, key=lambda one: -one.beyond.mean)


def transfer_table(results: Results, found: Sequence[Transferred]) -> Table:
    """Scores in and out of distribution."""
    here, there = (printable(name) for name in (results.dataset["name"], results.dataset["transfer"]["name"]))
    columns = [
        *("representation", "group", "classifier"),
        f"{here} to {here}",
        f"{here} to {there}",
        f"{there} to {there}",
        "lost by it",
    ]
    rows = [
        [
            *(one.representation, one.group, one.classifier),
            *(with_interval(each) if each else "" for each in (one.within, one.beyond, one.native)),
            with_sign(one.loss) if one.loss else "",
        ]
        for one in found
    ]
    return Table(f"Learned from {here}, tested on {there}", columns, rows, columns[3:])


def transfer_note(results: Results, found: Sequence[Transferred]) -> str:
    """What travels, in a sentence or two."""
    data = results.dataset["transfer"]
    best = found[0]
    test = results.tested[TRANSFER]
    chance = results.chance_of(TRANSFER)
    told = (
        f"{best.representation} on {best.group}, read by {best.classifier}, travels best: {results.measure} "
        f"{with_interval(best.beyond)} on {counted(len(test.truth), 'adapter')} of "
        f"{printable(data['name'])}"
    )
    if chance is not None:
        told += f", where knowing nothing scores {chance:.3f}"
    if best.loss is not None:
        d = best.loss
        told += f"; what is learned there from {results.tested[NATIVE].trained:,} adapters scores {with_sign(d)} beside it"
    told += "."
    if data["left_out"]:
        told += (
            f" {counted(data['left_out'], 'adapter')} there of classes that were not learned "
            f"({listed(data['unknown'], 3)}) are left out."
        )
    return told
