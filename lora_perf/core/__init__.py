"""What every room knows: a zoo is a matrix of rows, a layout names its columns, features know their layers.

Comes in: tensors, names of layers, texts of users.
Goes out: `Zoo`, `Layout`, `Features`, `LoraPerfError`; the one grammar of names and the one escape of texts.
Import from here: the modules of this room; the public names are lifted by the package itself.
"""
