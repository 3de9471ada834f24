"""How the sides of an update relate, and how the updates of neighbouring modules do."""

from __future__ import annotations

from torch import Tensor

from lora_perf.core.layout import Module
from lora_perf.representations.factors.matrices import columns, ratio
from lora_perf.representations.kinds import of_modules
from lora_perf.representations.updates.modules import Modules, Pairs, divided


def _names(module: Module) -> tuple[str, ...]:
    m, k = module.shape
    return ("trace", "symmetry", "overlap") if m == k else ()


def _neighbours(pairs: Pairs) -> Tensor:
    """cosine, reads and writes of `layer_coupling`."""
    x, first, second = pairs.updates, pairs.first, pairs.second
    across_up, across_down = pairs.up_product(), pairs.down_product()
    sign = (x.factor[first] * x.factor[second]).sign()
    norms = x.unit_frobenius[first] * x.unit_frobenius[second]
    fourths = (_fourth(x)[first] * _fourth(x)[second]).sqrt_()
    cosine = _inner(across_up, across_down) * sign
    reads = _inner(x.up_gram[first] @ across_down, across_down @ x.up_gram[second])
    writes = _inner(x.down_gram[first] @ across_up, across_up @ x.down_gram[second])
    return columns(
        ratio(cosine, norms).clamp_(-1, 1),
        ratio(reads, fourths).clamp_(0, 1),
        ratio(writes, fourths).clamp_(0, 1),
    )


@of_modules("layer_coupling", _names, ("cosine", "reads", "writes"), _neighbours)
def layer_coupling(x: Modules) -> Tensor:
    """How what a square dW writes relates to what it reads, and how neighbouring modules relate: all of dW, none of its gauge.

    Of a module with m = k, whose inputs and outputs can be compared (others have no such features):
    trace: tr(dW) over the nuclear norm, from -1 to 1; symmetry: <dW, dW^T> / |dW|^2, 1 for a symmetric and -1 for an
    antisymmetric update; overlap: |dW dW|^2 / |dW dW^T|^2, how much of what it writes it reads, 0 to 1: squared cosines of the
    principal angles between the column and the row space, each weighted by the squares of its two singular values.

    Of two neighbours of one parent and one shape, such as to_q and to_v of one self-attention:
    cosine: <dW1, dW2> / (|dW1| |dW2|), from sum((B1^T B2) * (A1 A2^T)); reads and writes: the same weighted squared cosines
    between their row spaces, |dW1 dW2^T|^2 / (|dW1 dW1^T| |dW2 dW2^T|), and between their column spaces, with dW1^T dW2.

    Norms are Frobenius norms. All are smooth wherever dW is not 0, unlike angles of unweighted subspaces, which jump where the
    rank changes. They are 0 where dW is 0.
    """
    turn = divided(x.down.mT @ x.up, x.up_scale * x.down_scale)  # A B, whose trace is that of B A
    sign = x.factor.sign()
    trace = turn.diagonal(dim1=1, dim2=2).sum(dim=1) * sign
    symmetry = (turn * turn.mT).sum(dim=(1, 2))
    square = _inner(x.up_gram, turn @ x.down_gram @ turn.mT)  # |B (A B) A|^2
    return columns(
        ratio(trace, x.unit_singular_values.sum(dim=1)).clamp_(-1, 1),
        ratio(symmetry, x.unit_frobenius.square()).clamp_(-1, 1),
        ratio(square, _fourth(x)).clamp_(0, 1),
    )


def _inner(one: Tensor, two: Tensor) -> Tensor:
    """(q,) inner products of matrices (q, r, r)."""
    return (one * two).sum(dim=(1, 2))


def _fourth(x: Modules) -> Tensor:
    """(q,) squared norms of dW dW^T over the fourth power of the scale: sums of fourth powers of singular values."""
    product = x.up_gram @ x.down_gram
    return _inner(product, product.mT).clamp_(min=0)
