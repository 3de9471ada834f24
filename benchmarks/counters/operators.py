"""What torch's operators do: how many of which kind, the bytes that they write, the memory that they hold."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_COPIES = ("copy_", "_to_copy", "clone", "cat", "stack", "repeat", "constant_pad_nd")
_SYNCHRONISES = "_local_scalar_dense"
COUNTERS = ("operators", "synchronisations", "product_flops", "written_nbytes", "copied_nbytes")


class Operators:
    """The counters of all threads of one call, and the memory that is held by results of operators."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self.peak = 0
        self._held = 0
        self._sizes: dict[weakref.ref[Any], int] = {}

    def hold(self, tensors: list[torch.Tensor]) -> None:
        """Counts the memory of new tensors until it is given back."""
        for storage in {one.untyped_storage()._cdata: one.untyped_storage() for one in tensors}.values():
            size = self._sizes[weakref.ref(storage, self._release)] = storage.nbytes()
            self._held += size
            self.peak = max(self.peak, self._held)

    def _release(self, storage: weakref.ref[Any]) -> None:
        self._held -= self._sizes.pop(storage)


class Seen(TorchDispatchMode):
    """Sees each operator that its thread dispatches."""

    def __init__(self, operators: Operators) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operators = operators

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = operator(*args, **kwargs)
        given = _tensors((*args, *kwargs.values()))
        storages = {one.untyped_storage()._cdata for one in given}
        new = [one for one in _tensors((found,)) if one.untyped_storage()._cdata not in storages]
        self._operators.hold(new)
        name = operator._schema.name.partition("::")[2]
        counts = self._operators.counts
        counts["operators"] += 1
        # Memory that is only reserved is written by a later operator.
        written = [] if name.startswith(("empty", "new_empty")) else new + _changed(operator, args, kwargs)
        nbytes = sum(one.nbytes for one in written)
        counts["written_nbytes"] += nbytes
        counts["synchronisations"] += name == _SYNCHRONISES
        if name in _COPIES:
            counts["copied_nbytes"] += nbytes
        elif operator.overloadpacket in flop_registry:
            counts["product_flops"] += flop_registry[operator.overloadpacket](*args, **kwargs, out_val=found)
        return found


def _tensors(values: Iterable[Any]) -> list[torch.Tensor]:
    """The tensors among arguments or results, which stand alone or in lists."""
    found: list[torch.Tensor] = []
    for one in values:
        if isinstance(one, torch.Tensor):
            found.append(one)
        elif isinstance(one, list | tuple):
            found += _tensors(one)
    return found


def _changed(operator: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The arguments that an operator writes to."""
    return _tensors([args[i] if i < len(args) else kwargs.get(name) for i, name in _written_places(operator)])


@cache
def _written_places(operator: Any) -> list[tuple[int, str]]:
    """Places and names of these arguments, as the operator's schema says."""
    names = enumerate(operator._schema.arguments)
    return [(i, one.name) for i, one in names if one.alias_info is not None and one.alias_info.is_write]
