"""Writes a nested corpus again with float16 values: `python -m benchmarks.float16 SOURCE TARGET`."""

from __future__ import annotations

import sys


def main(source: str, target: str) -> None:
    """Casts every weight column of a save_to_disk folder, and writes a folder beside it."""
    from datasets import Features, List, Value, load_from_disk

    data = load_from_disk(source)
    features = {
        name: List(List(Value("float16"))) if name.endswith(".weight") else feature for name, feature in data.features.items()
    }
    data.cast(Features(features)).save_to_disk(target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
