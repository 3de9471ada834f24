"""The gauge audit: how features and accuracies change when adapters are written in other factors of the same update.

(B, A) and (B G, G^-1 A) are the same dW = s B A for every invertible G (r, r). Which of them an adapter happens to hold says
nothing of what it does, so whatever of its features or its class moves with G was never about the update.

Comes in: a zoo, with labels or without, or what `load` opens.
Goes out: an `Audit`, and its files where they were asked for.
Import from here: `run`, `Audit`; `audit` takes its settings as an `AuditConfig`.
"""

from lora_perf.audit.config import AuditConfig
from lora_perf.audit.gauges import GAUGES, Gauge
from lora_perf.audit.python import run
from lora_perf.audit.rows import rounding, with_gauges
from lora_perf.audit.study import Audit, audit

__all__ = ["GAUGES", "Audit", "AuditConfig", "Gauge", "audit", "rounding", "run", "with_gauges"]
