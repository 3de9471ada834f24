"""Folders of adapter files: one walk, one declared set, one reader a file.

Comes in: a path and its tree.
Goes out: the rows, labels and names of the adapters in it.
Import from here: `folder.open_folder` and the tree; the rest serves them.
"""
