"""The audit as a function of Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lora_perf.audit.config import AuditConfig
from lora_perf.audit.pages import write
from lora_perf.audit.study import Audit, audit
from lora_perf.core.ambient import in_plain_torch, with_threads
from lora_perf.core.settings import Progress, settings_of, silent
from lora_perf.experiment.logs import log
from lora_perf.io import load
from lora_perf.io.atomic import check_writable

if TYPE_CHECKING:
    from lora_perf.io import Source


@in_plain_torch
def run(
    source: Source,
    *,
    representations: Sequence[str] = ("ten", "dw", "learned"),
    layers: str = "all",
    classifiers: Sequence[str] = ("ridge",),
    adapters: Literal["test", "all"] = "test",
    num_runs: int = 10,
    seed: int = 42,
    threads: int | None = None,
    label_column: str | None = "category_label",
    skip_bad: bool = False,
    output_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Asks whether features and accuracies survive other factors of the same updates, as `python -m lora_perf.audit` does.

    Nothing is written unless `output_dir` says where, and nothing is shown. Of a zoo without labels the movements are told
    and no accuracy is. Settings are those of the command (`AuditConfig`).

    >>> import lora_perf
    >>> found = lora_perf.audit.run("digits", representations=["stats", "dw_norms"])
    >>> [one.name for one in found.representations if one.still]
    ['dw_norms']

    Args:
        source: a `Zoo`, or whatever `lora_perf.load` opens.
        progress: called with "represent", how many adapters are represented, and how many there are.

    Raises:
        LoraPerfError: settings or data that cannot be used, files that cannot be written.
    """
    given = {name: value for name, value in locals().items() if name not in ("source", "progress", "output_dir")}
    given |= {"dataset": str(source) if isinstance(source, str | Path) else ""}
    config = settings_of(AuditConfig, given if output_dir is None else given | {"output_dir": output_dir})
    zoo = load(source, label_column=label_column, skip_bad=skip_bad)
    if output_dir is not None:
        check_writable(config.output_dir)
    with with_threads(config.threads):
        found = audit(zoo, config, lambda line: log.info("%s", line), progress or silent)
    if output_dir is not None:
        write(found, config.output_dir)
    return found
