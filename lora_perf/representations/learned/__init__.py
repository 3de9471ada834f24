"""Learned representations: fitted on the train rows of a zoo, then applied to all of its rows.

Each stands in one dict under the name that serves everywhere, as the fixed representations do. What they learn depends on
the split, so they are no columns of `represent`'s pass, and their features belong to one vector of train rows.
"""

from lora_perf.representations.learned import autoencoders, contrastive, kernel, pca  # noqa: F401 - fill the registry
from lora_perf.representations.learned.caching import cached
from lora_perf.representations.learned.learning import learn
from lora_perf.representations.learned.registry import LEARNED, Learned

__all__ = ["LEARNED", "Learned", "cached", "learn"]
