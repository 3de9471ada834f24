"""The rows of results, of files and data frames alike: one a cell, one a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from lora_perf.report.cells import CellResult
    from lora_perf.report.results import Results

Of = Literal["cells", "runs", "predictions"]
_CELL = ("representation", "group", "classifier", "shuffled", "division", "features")
_RUN = (
    *("seed", "accuracy", "macro_f1", "macro_precision", "macro_recall", "validation_accuracy"),
    *("best_epoch", "epochs", "seconds"),
)


def run_rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row for each run."""
    for cell in results.cells:
        for run in cell.runs:
            yield {name: getattr(cell, name) for name in _CELL} | {name: getattr(run, name) for name in _RUN}


def mean_f1(draws: Sequence[CellResult]) -> float | None:
    """The macro F1 of a cell's runs on all draws of its representation, where classes are learned."""
    values = [run.macro_f1 for cell in draws for run in cell.runs if run.macro_f1 is not None]
    return sum(values) / len(values) if values else None


def cell_rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row for each cell; drops are counted from the first group, of cells with true labels."""
    for cell in results.cells:
        row = {name: getattr(cell, name) for name in _CELL}
        row |= {"constant": len(cell.constant), "runs": len(cell.runs), "note": cell.note}
        estimate, drop, _ = results.told(cell)
        row["accuracy"] = estimate.mean if estimate else results.mean(cell)
        row |= {f"accuracy_{of}": getattr(estimate, of, None) for of in ("low", "high")}
        row |= {
            f"drop{end}": getattr(drop, of, None) for end, of in (("", "mean"), ("_low", "low"), ("_high", "high"), ("_p", "p"))
        }
        row["macro_f1"] = mean_f1(results.draws_of(cell))
        row |= {f"permuted_{of}": getattr(cell.permuted, of, None) for of in ("mean", "p")}
        row |= {name: sum(run.measures.get(name, 0.0) for run in cell.runs) / len(cell.runs) for name in cell.runs[0].measures}
        yield row | {"milliseconds": cell.milliseconds, "seconds": cell.seconds}
