"""The files of an audit."""

from __future__ import annotations

import json
from pathlib import Path

from lora_perf.audit import pages
from lora_perf.audit.figure import drawn
from lora_perf.audit.study import Audit
from lora_perf.io.atomic import write_together
from lora_perf.report.canvas import remove_figures, write_figure


def write(found: Audit, folder: Path) -> list[str]:
    """Writes page and numbers, both or neither, then the figure, which the page shows once it is there; returns the names.

    Raises:
        LoraPerfError: page or numbers cannot be written; a figure that cannot be drawn is a warning.
    """
    numbers = json.dumps(found.to_json(), indent=1, allow_nan=False).encode()
    write_together({folder / "audit.md": pages.markdown(found, figure=False).encode(), folder / "audit.json": numbers})
    remove_figures([folder / "audit.svg"])
    figure = write_figure(lambda: drawn(found), folder / "audit", ["svg"])
    if figure:
        write_together({folder / "audit.md": pages.markdown(found).encode()})
    return ["audit.md", "audit.json", *figure]
