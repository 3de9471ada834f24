"""The output folder: one run at a time writes to it, and no report takes the place of one of other settings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from lora_perf import report
from lora_perf.core.errors import LoraPerfError
from lora_perf.experiment import runner
from lora_perf.experiment.checkpoints import CELLS as CELLS
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.logs import LOG, log, log_file
from lora_perf.experiment.observer import Observer
from lora_perf.io.atomic import cannot_write, sweep
from lora_perf.io.claims import claim
from lora_perf.io.headers import HeaderError, read_whole
from lora_perf.report.compare import NO_MATTER
from lora_perf.report.files import REPORT
from lora_perf.report.results import Results
from lora_perf.report.wording import stages

QUICK, EARLIER = "quick", "earlier"


@dataclass(frozen=True)
class Kept:
    """An experiment whose report is in its output folder.

    Attributes:
        files: what was written, by its path in the output folder.
        moved: what was told of the report of other settings that stood there; empty where none did.
    """

    results: Results
    files: list[str]
    moved: str


def run_in_folder(prepared: runner.Prepared, observer: Observer, command: str) -> Kept:
    """Runs an experiment in its output folder, goes on from the cells that are finished there, and leaves its report.

    Args:
        command: what the log says was called.

    Raises:
        LoraPerfError: another run writes there, or it cannot be written.
        KeyboardInterrupt: passed on; finished cells are saved.
    """
    folder = prepared.config.output_dir
    with working_in(prepared.config), log_file(folder) as logged:
        log.info("command: %s", command)
        results = runner.run(prepared, observer)
        with prepared.clock.stage("report"):
            place, target = place_report(results, folder)
            files = report.write(results, place)
        if place != folder:
            log.info("the report of a full run stays in %s", folder)
        moved = target and f"the report of other settings or data that stood there is kept in {target}"
        if moved:
            log.info("%s", moved)
        log.info("%s", stages(results.seconds))
    return Kept(results, [str((place / name).relative_to(folder)) for name in files] + [LOG] * logged, moved or "")


@contextmanager
def working_in(config: ExperimentConfig) -> Iterator[None]:
    """Claims the output folder for this run, and removes what dead processes left of files there and in the cache."""
    with claim(config.output_dir):
        for name in REPORT:
            path = config.output_dir / name
            if path.is_dir():
                raise LoraPerfError(expected=f"a file or nothing at {path}", found="a folder", fix="move it elsewhere")
        for folder in (config.output_dir, config.output_dir / CELLS, config.output_dir / QUICK, config.cache):
            sweep(folder)
        yield


def place_report(results: Results, folder: Path) -> tuple[Path, Path | None]:
    """Makes room for a report: where it goes, and where the one of other settings went that stood there.

    The same settings and data replace their own report. A report of others moves to `earlier/<data set>-<8 digits>` in its
    folder. A short look (--quick) leaves the report of a full run where it is and goes to `quick`.
    """
    standing = _Report.read(folder)
    if standing is not None and results.config["quick"] and not standing.quick:
        folder = folder / QUICK
        standing = _Report.read(folder)
    key = _key(results.config, results.dataset)
    if standing is None or standing.key == key:
        return folder, None
    target = folder / EARLIER / f"{standing.name}-{standing.key}"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in REPORT:
            if os.path.lexists(folder / name):
                os.replace(folder / name, target / name)
    except OSError as error:
        raise cannot_write(target, error) from None
    return folder, target


@dataclass(frozen=True)
class _Report:
    """What the results.json of a folder is about; one that cannot be read is some full run's."""

    name: str
    key: str
    quick: bool

    @classmethod
    def read(cls, folder: Path) -> _Report | None:
        content = b""
        try:
            content = read_whole(folder / "results.json")
            found = json.loads(content)
            config, dataset = found["config"], found["dataset"]
            name = re.sub(r"[^\w.+-]", "_", str(dataset["name"]), flags=re.ASCII)[:50]
            return cls(name.lstrip(".") or "report", _key(config, dataset), config["quick"] is True)
        except (OSError, HeaderError):
            return None  # nothing, or nothing that was a report
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            return cls("unknown", xxhash.xxh3_64_hexdigest(content)[:8], False)


def _key(config: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    settings = {name: value for name, value in config.items() if name not in NO_MATTER}
    identity = json.dumps([settings, dataset["fingerprint"]], sort_keys=True)
    return xxhash.xxh3_64_hexdigest(identity.encode())[:8]
