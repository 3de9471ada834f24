"""Whether a change makes a workload slower: base and change timed in turn, by two processes. See README.md here."""
