"""Representations of one matrix, a factor: q matrices -> (q, f).

None of them sees the scale s of dW = s B A, nor that B and A belong together: what each definition hides besides stands in
its docstring.

Comes in: a batch of matrices of one shape, with shared quantities (`Matrices`).
Goes out: features under the names of the registry.
Import from here: `Matrices`; the functions are found by name.
"""
