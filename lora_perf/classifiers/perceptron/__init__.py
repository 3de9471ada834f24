"""The perceptron: all seeds of a cell trained together.

Comes in: values, labels, a split, seeds, a recipe.
Goes out: predictions, curves and the seconds that they took.
Import from here: `runs.train`; network and training serve it.
"""
