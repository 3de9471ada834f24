"""Learned representations: fitted on the train rows of a zoo, then applied to all of its rows.

Comes in: a zoo, chosen layers and train rows (`Task`).
Goes out: features (n, d), which belong to one vector of train rows.
Import from here: `learn`, one fit alone, for those who measure it; all others ask `represent` for a name.
"""

from lora_perf.representations.learned.fitting import learn

__all__ = ["learn"]
