"""results.json read back, that of today and those of before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lora_perf.classifiers import DEFAULT
from lora_perf.classifiers.scores import MEASURES
from lora_perf.core.errors import LoraPerfError
from lora_perf.io.headers import HeaderError, read_whole
from lora_perf.report.cells import Asked, Cell, CellResult, cell_from_json, require
from lora_perf.report.parts import is_part
from lora_perf.report.results import Results
from lora_perf.report.tested import Kind, Tested
from lora_perf.report.wording import RANDOM

# What records of before do not say, since it could not be otherwise then.
_CELL = {
    "classifier": DEFAULT,
    "shuffled": False,
    "division": "",
    "milliseconds": None,
    "note": "",
    "permuted": None,
    "map": None,
}
_RUN: dict[str, Any] = {"setting": {}, "measures": {}}
_LISTS = ("skipped", "untrained", "untested")
_DATASET: dict[str, Any] = {"skipped": []}
_NUMBERS = ("adapters", "layers", "parameters", "train", "validation", "test")


def read_results(path: Path) -> Results:
    """The results of an output folder, or of a results.json.

    Raises:
        LoraPerfError: there is none, or it is not whole, or contradicts itself.
    """
    file = path / "results.json" if path.is_dir() else path
    try:
        content = read_whole(file)
    except (OSError, ValueError, HeaderError) as error:  # ValueError: a path that cannot be
        raise _no_results(file, getattr(error, "strerror", None) or str(error)) from None
    try:
        return _results(json.loads(content))
    except json.JSONDecodeError:
        found = "text that is no JSON, or ends too early"
    except KeyError as error:
        found = f"no {error.args[0]}"
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        found = str(error).partition("\n")[0] or type(error).__name__
    raise _no_results(file, found)


def _no_results(file: Path, found: str) -> LoraPerfError:
    return LoraPerfError(
        expected=f"the results.json of an experiment at {file}",
        found=found,
        fix="give the output folder of an experiment, or run it again",
    )


def _results(found: dict[str, Any]) -> Results:
    """Results of what JSON holds; where a field is missing, or of another kind, an error of Python."""
    data = _DATASET | found["dataset"]
    classes = data["classes"]
    require(set(map(type, classes)) <= {str} and len(set(classes)) == len(classes), "classes without names of their own")
    require(bool(classes) or data.get("task") == "numbers", "classes without names of their own")
    task = data.get("task", "classes")
    require(task in MEASURES, "no task that is known")
    require(task == "classes" or type(data["baseline"]["score"]) in (int, float), "no score of a baseline")
    truth = np.array(found["test_labels"])
    require(len(truth) == data["test"], "labels of other test adapters")
    _check_truth(truth, task, len(classes))
    require(all(type(data[name]) is int for name in _NUMBERS), "no sizes of the data set")
    require({type(data[name]) for name in ("name", "fingerprint", "split")} == {str}, "no name of the data set")
    require(type(data["resubstitution"]) is bool, "no word on the split")
    require(all(isinstance(data.get(name, []), list) for name in _LISTS), "no word on classes or files that were left out")
    repeated = data.get("repeated") or {"test": 0, "other_class": 0}
    require(all(type(repeated[name]) is int for name in ("test", "other_class")), "no word on repeated adapters")
    require(type(found["config"]["num_runs"]) is int, "no number of runs")
    require(all(type(value) in (int, float) for value in found["seconds"].values()), "stages without seconds")
    rows, adapters = found.get("test_rows", []), found.get("test_adapters", [])
    require(all(type(row) is int and 0 <= row < data["adapters"] for row in rows), "test rows that are not there")
    require(len(rows) == len(adapters) and len(rows) in (0, len(truth)), "names of other test adapters")
    halves = found.get("halves", {})
    tested = _tested(found, truth, data)
    cells = [_cell(record, tested, data) for record in found["cells"]]
    require(any(cell.division == "" for cell in cells), "no cells")
    require(len({cell.cell for cell in cells}) == len(cells), "a cell twice")
    return Results(
        config=dict(found["config"]),
        dataset=data,
        versions=dict(found["versions"]),
        machine=dict(found["machine"]),
        seconds=dict(found["seconds"]),
        truth=truth,
        cells=cells,
        groups=tuple(dict.fromkeys(cell.group for cell in cells if cell.group not in halves and not is_part(cell.group))),
        halves={str(name): [*map(str, modules)] for name, modules in halves.items()},
        rows=rows,
        adapters=[*map(str, adapters)],
        tested=tested,
    )


def _tested(found: dict[str, Any], truth: Any, data: dict[str, Any]) -> dict[str, Tested]:
    """The splits by name; records of before have the first alone."""
    first = {"labels": truth.tolist(), "rows": found.get("test_rows", []), "learned": data["train"] + data["validation"]}
    tested = {}
    for name, one in ({"": first} | found.get("divisions", {})).items():
        labels, clusters = np.array(one["labels"]), one.get("clusters")
        _check_truth(labels, data.get("task", "classes"), len(data["classes"]))
        require(type(one["learned"]) is int and one["learned"] > 0, "no number of adapters to learn from")
        require(clusters is None or (len(clusters) == len(labels) and set(map(type, clusters)) == {int}), "no groups")
        of = None if clusters is None else np.array(clusters, np.int64)
        trained = one.get("trained", data["train"])
        kind = one.get("kind", "random" if name == RANDOM else "repeat")
        require(type(trained) is int and kind in get_args(Kind), "no word on what a split is for")
        tested[name] = Tested(labels, [*map(int, one["rows"])], of, one["learned"], trained, kind)
    require(np.array_equal(tested[""].truth, truth), "labels of other test adapters")
    return tested


def _check_truth(truth: Any, task: str, classes: int) -> None:
    if task in ("classes", "retrieval"):
        require(truth.ndim == 1 and truth.dtype == np.int64, "labels of other test adapters")
        require(truth.min() >= 0 and truth.max() < classes, "labels of no class")
    else:
        shape = (len(truth),) if task == "numbers" else (len(truth), classes)
        require(truth.shape == shape and truth.dtype.kind in "fi", "no truth of the test adapters")


def _cell(record: dict[str, Any], tested: dict[str, Tested], data: dict[str, Any]) -> CellResult:
    record = {**_CELL, **record, "runs": [_RUN | run for run in record["runs"]]}
    cell = Cell(*(record[name] for name in ("representation", "group", "classifier", "shuffled", "division")))
    names = (cell.representation, cell.group, cell.classifier, cell.division)
    require(all(type(name) is str for name in names), "a cell without a name")
    require(bool(record["runs"]), "a cell without runs")
    seeds = [run["seed"] for run in record["runs"]]
    require(seeds == [None] or all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds), "runs without seeds")
    return cell_from_json(record, cell, seeds, Asked(data.get("task", "classes"), data["classes"], tested[cell.division].truth))
