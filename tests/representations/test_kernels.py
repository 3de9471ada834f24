"""Eigenvalues on a GPU come in pieces that its library can bear."""

from __future__ import annotations

import pytest
import torch

from lora_perf.representations.factors.kernels import eigenvalues, eigenvectors


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_two_hundred_thousand_matrices_have_their_eigenvalues() -> None:
    factor = torch.randn(200_000, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrices = factor @ factor.mT
    expected = torch.linalg.eigvalsh(matrices)
    torch.testing.assert_close(eigenvalues(matrices.cuda()).cpu(), expected)
    values, vectors = eigenvectors(matrices.cuda())
    torch.testing.assert_close(vectors @ torch.diag_embed(values) @ vectors.mT, matrices.cuda())
    torch.testing.assert_close(values.cpu(), expected)
