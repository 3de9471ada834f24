"""Representations of one matrix, a factor: q matrices -> (q, f).

Comes in: a batch of matrices of one shape, with shared quantities (`Matrices`).
Goes out: features under the names of the registry.
Import from here: `Matrices`; the functions are found by name.
"""
