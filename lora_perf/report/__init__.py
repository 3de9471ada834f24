"""Results as files: numbers, a Markdown summary and figures."""

from lora_perf.report.files import draw, write
from lora_perf.report.summary import write_summary

__all__ = ["draw", "write", "write_summary"]
