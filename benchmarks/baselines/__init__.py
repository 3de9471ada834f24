"""The slow paths, written afresh as their users write them, correct, and used by nothing but the workloads."""

from benchmarks.baselines.loading import (
    column_to_tensor,
    copy_blocks,
    copy_fresh,
    numpy_format,
    sample_by_sample,
    torch_format,
    write_bytes,
)
from benchmarks.baselines.preparing import (
    Parts,
    scores_by_formula,
    scores_one_by_one,
    split_by_datasets,
    split_by_sklearn,
    standardise_by_sklearn,
)
from benchmarks.baselines.representing import represent_by_loop
from benchmarks.baselines.training import train_by_loop

__all__ = [
    "Parts",
    "column_to_tensor",
    "copy_blocks",
    "copy_fresh",
    "numpy_format",
    "represent_by_loop",
    "sample_by_sample",
    "scores_by_formula",
    "scores_one_by_one",
    "split_by_datasets",
    "split_by_sklearn",
    "standardise_by_sklearn",
    "torch_format",
    "train_by_loop",
    "write_bytes",
]
