"""Base and change of any suite timed in turn: `pytest --pairs BASE`; this project's own guard is that over its workloads.

Comes in: a suite that uses the `benchmark` fixture of pytest-benchmark, a commit of its repository.
Goes out: for each of its benchmarks whether it got slower, kept its speed, or measured nothing.
Import from here: nothing; pytest finds the plugin, `lora_perf_pairs` beside the package, by its entry point. `comparison` is
what it and the guard share; `worker`, `calls` and `arrays` stand alone, so that they serve any base.
"""
