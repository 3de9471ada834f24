"""Results: numbers with their intervals, and the tables, figures and files that show them.

Comes in: the finished cells of an experiment, and what they depend on.
Goes out: `Results`, in memory and read back from files; summary, tables, figures and predictions.
Import from here: `write` for all files of a report; `Results` from `results`, `Cell` from `cells`.
"""

from lora_perf.report.files import draw, write
from lora_perf.report.summary import write_summary

__all__ = ["draw", "write", "write_summary"]
