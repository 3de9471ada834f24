"""Classifiers: features and labels -> predictions of the test rows.

Comes in: values (n, f), labels (n,), a split.
Goes out: predictions by name; metrics with their intervals.
Import from here: the modules of this room.
"""
