"""Representations of the update dW = s B A, which is never formed: q updates -> (q, f).

Comes in: a batch of updates of one shape, with shared quantities (`Modules`).
Goes out: features under the names of the registry.
Import from here: `Modules` and the fixed random vectors; the functions are found by name.
"""
