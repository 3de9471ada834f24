"""The workloads, one file a stage."""
