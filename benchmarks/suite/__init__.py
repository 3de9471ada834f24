"""The asv suite: `workloads.py` makes its classes from the table; asv imports every file of this folder and nothing else."""
