"""Whether a change makes a workload slower: `pytest --pairs` over the table of workloads. See README.md here."""
