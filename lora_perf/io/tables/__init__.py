"""Tables: Arrow buffers of any nesting, parquet, IPC files, objects of `datasets`.

Comes in: a table and the meaning of its columns.
Goes out: the rows, labels and scales in it.
Import from here: the reader of a format; columns, meaning and scales serve them.
"""
