"""Every promise of speed as a measurement: one table of workloads, and the programs that run it. See README.md here."""
