"""Standardisation of features by the statistics of the train rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.stored import StoredValues, chosen_columns

# A column is constant if its deviation is at most the rounding of its values: sums of a few terms in another order
# differ by some units in the last place.
_CONSTANT = 8 * float(torch.finfo(torch.float32).eps)
_CHUNK_NBYTES = 8 << 20  # of float64, so that a chunk and its temporaries stay small beside any feature matrix


class ConstantFeaturesError(LoraPerfError):
    """All features are constant on the train rows, so that they tell nothing."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of each of f columns, from the train rows; finite also looks at the others.

    Attributes:
        count: of train rows.
        mean, deviation, peak: (f,) float64; the peak is the largest absolute value.
        finite: (f,) bool.
    """

    count: int
    mean: Tensor
    deviation: Tensor
    peak: Tensor
    finite: Tensor

    @classmethod
    def of(cls, values: Tensor | StoredValues, train_rows: Tensor) -> Moments:
        """Those of values (n, f), also those that stay in a file, and of train rows (n_train,).

        Cost: one sequential pass over all rows in chunks; one float64 buffer of 8 MiB.
        """
        n, f = values.shape
        chosen = torch.zeros(n, dtype=torch.bool)
        chosen[train_rows.cpu()] = True
        device = values.device
        mean, squares, peak = (torch.zeros(f, dtype=torch.float64, device=device) for _ in range(3))
        finite = torch.ones(f, dtype=torch.bool, device=device)
        count = 0
        nbytes = _CHUNK_NBYTES if device.type == "cpu" else 32 * _CHUNK_NBYTES  # a GPU waits at the end of each chunk
        step = max(1, nbytes // (8 * max(1, f)))
        # One for all chunks: memory that is new to the process costs more than what is computed in it.
        buffer = torch.empty(min(step, n), f, dtype=torch.float64, device=device)
        for start in range(0, n, step):
            block = values[start : start + step]
            if not torch.isfinite(block.sum()):  # or it overflowed; only then each value is looked at
                finite &= torch.isfinite(block).all(dim=0)
            inside = chosen[start : start + step]
            m = int(inside.sum())
            if m == 0:
                continue
            train = block if m == len(block) else block[inside.to(device)]
            # The extremes, since the norm of that name is several times slower.
            torch.maximum(peak, torch.maximum(train.amax(dim=0), -train.amin(dim=0)), out=peak)
            rows = buffer[:m].copy_(train)
            # Chan, Golub, LeVeque (1983): means and sums of squares of two groups of rows, merged.
            rows_mean = rows.mean(dim=0)
            shift = rows_mean - mean
            squares += rows.sub_(rows_mean).square_().sum(dim=0) + shift.square() * (count * m / (count + m))
            mean += shift * (m / (count + m))
            count += m
        return cls(count, mean, (squares / max(1, count)).sqrt(), peak, finite)

    @classmethod
    def beside(cls, parts: Sequence[Moments]) -> Moments:
        """Those of columns that stand side by side."""
        names = ("mean", "deviation", "peak", "finite")
        return cls(parts[0].count, *(torch.cat([getattr(one, name) for one in parts]) for name in names))

    @property
    def varies(self) -> Tensor:
        """(f,) which columns are not constant."""
        return self.deviation > _CONSTANT * self.peak


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Mean and scale of the columns that are not constant on the train rows.

    Attributes:
        kept: (f_kept,) int64, the columns used.
        dropped: (f - f_kept,) int64, the constant columns.
        mean, scale: (f_kept,) float64; the scale is the standard deviation.
    """

    kept: Tensor
    dropped: Tensor
    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, values: Tensor | StoredValues, train_rows: Tensor) -> Standardiser:
        """The statistics of the train rows.

        Shapes: values (n, f), also those that stay in a file; train_rows (n_train,).
        Cost: one sequential pass over all rows in chunks; one float64 buffer of 8 MiB.
        Raises:
            LoraPerfError: a value that is not finite in any row.
            ConstantFeaturesError: no column varies.
        """
        return cls.of(Moments.of(values, train_rows))

    @classmethod
    def of(cls, moments: Moments) -> Standardiser:
        """Of what is known of each column; raises as `fit` does."""
        f, varies = len(moments.mean), moments.varies
        if not moments.finite.all():
            columns = (~moments.finite).nonzero().flatten()
            raise LoraPerfError(
                expected="finite features",
                found=f"NaN or infinity in {len(columns)} of {f} columns ({listed(columns.tolist())})",
                fix="leave these features or the adapters behind them out",
            )
        if not varies.any():
            raise ConstantFeaturesError(
                expected="a feature that differs between the train adapters",
                found=f"{f} constant columns over {moments.count} train rows",
                fix="choose another representation or layer group",
            )
        kept, dropped = (where.nonzero().flatten() for where in (varies, ~varies))
        return cls(kept, dropped, moments.mean[varies], moments.deviation[varies])

    def select(self, values: Tensor | StoredValues) -> Tensor | StoredValues:
        """The kept columns of values (n, f): the matrix itself where none is dropped, else (n, f_kept), copied where small."""
        return values if len(self.dropped) == 0 else chosen_columns(values, self.kept.cpu().numpy())
