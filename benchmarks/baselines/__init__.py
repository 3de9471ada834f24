"""The slow paths, written afresh as their users write them, correct, and used by nothing but the workloads."""

from benchmarks.baselines.learning import pca_by_sklearn, scores_of_products, update_products, update_products_by_pair
from benchmarks.baselines.loading import (
    column_to_tensor,
    copy_blocks,
    copy_fresh,
    load_whole_files,
    numpy_format,
    open_tensor_by_tensor,
    read_parquet,
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
from benchmarks.baselines.updates import spectrum_by_svd_lowrank, updates_by_qr

__all__ = [
    "Parts",
    "column_to_tensor",
    "copy_blocks",
    "copy_fresh",
    "load_whole_files",
    "numpy_format",
    "open_tensor_by_tensor",
    "pca_by_sklearn",
    "read_parquet",
    "represent_by_loop",
    "sample_by_sample",
    "scores_by_formula",
    "scores_of_products",
    "scores_one_by_one",
    "spectrum_by_svd_lowrank",
    "split_by_datasets",
    "split_by_sklearn",
    "standardise_by_sklearn",
    "torch_format",
    "train_by_loop",
    "update_products",
    "update_products_by_pair",
    "updates_by_qr",
    "write_bytes",
]
