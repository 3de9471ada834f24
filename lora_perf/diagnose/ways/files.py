"""The ways to read adapter files, and a packed file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lora_perf.diagnose.subject import Subject
from lora_perf.diagnose.ways.way import Values, Way


def of_adapters(subject: Subject) -> list[Way]:
    import safetensors.torch
    from safetensors import safe_open

    from lora_perf.io.dialects.names import parse_part

    def is_factor(name: str) -> bool:
        return parse_part(name) is not None

    def opened(n: int, _: Sequence[str]) -> Values:
        found = []
        for path in subject.files[:n]:
            with safe_open(path, "pt") as file:
                found += [file.get_tensor(name).float() for name in file.keys() if is_factor(name)]  # noqa: SIM118 - no mapping
        return found

    def whole(read: Callable[[Any], dict[str, Tensor]]) -> Callable[[int, Sequence[str]], Values]:
        return lambda n, _: [one.float() for path in subject.files[:n] for name, one in read(path).items() if is_factor(name)]

    return [
        Way(
            "safe_open, tensor by tensor", "with safe_open(path, 'pt') as file:\n    file.get_tensor(name)",
            "a header read, and an object, a storage and a copy for each tensor", opened, by_rows=True, by_column=False,
        ),
        Way(
            "load_file", "safetensors.torch.load_file(path)",
            "a mapping and its page faults for each file, an object for each tensor",
            whole(lambda path: safetensors.torch.load_file(path)), by_rows=True, by_column=False,
        ),
        Way(
            "load of its bytes", "safetensors.torch.load(path.read_bytes())",
            "one read a file, an object for each tensor",
            whole(lambda path: safetensors.torch.load(path.read_bytes())), by_rows=True, by_column=False,
        ),
    ]  # fmt: skip


def of_packed(subject: Subject) -> list[Way]:
    from safetensors import safe_open

    def rows(n: int, _: Sequence[str]) -> Values:
        with safe_open(subject.files[0], "pt") as file:
            return [file.get_slice("rows")[:n]]

    return [
        Way(
            "safe_open, a slice of its rows", "with safe_open(path, 'pt') as file:\n    file.get_slice('rows')[:]",
            "one copy out of the mapped file", rows, by_rows=True, by_column=False,
        )
    ]  # fmt: skip
