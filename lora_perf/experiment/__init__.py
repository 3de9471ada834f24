"""The ablation: every representation on every layer group, for several seeds. `python -m lora_perf.experiment --help`"""
