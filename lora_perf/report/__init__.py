"""Results as a person reads them: a Markdown summary and figures."""

from lora_perf.report.figures import draw
from lora_perf.report.summary import write_summary

__all__ = ["draw", "write_summary"]
