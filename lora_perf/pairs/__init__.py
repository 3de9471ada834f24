"""Base and change of any suite timed in turn: `pytest --pairs BASE`, and the engine of this project's own guard.

Comes in: a suite that uses the `benchmark` fixture of pytest-benchmark, a commit of its repository.
Goes out: for each of its benchmarks whether it got slower, kept its speed, or measured nothing.
Import from here: nothing; pytest finds the plugin, `lora_perf_pairs` beside the package, by its entry point. `worker` stands
alone, so that it serves any base.
"""
