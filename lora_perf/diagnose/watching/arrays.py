"""What calls of torch and NumPy are: lists made to arrays, arrays made to lists, pieces joined, values taken out."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from lora_perf.diagnose.watching.files import Files
from lora_perf.diagnose.watching.wraps import Call, Told, Wraps

_SMALL = 4096  # bytes of a piece that is small for a kernel of its own
_NARROW = ("torch.float32", "torch.float16", "torch.bfloat16")


def wrap_torch(wraps: Wraps, files: Files) -> None:
    """Wraps what of torch makes tensors, joins them, and takes values out of them."""
    import torch

    joined = Joined()
    for name in ("tensor", "as_tensor"):
        _call_of_torch(wraps, name, _tensor_of_lists)
    for name in ("stack", "cat"):
        _call_of_torch(wraps, name, joined)
    for name in ("item", "tolist"):
        wraps.call(torch.Tensor, name, lambda call: taken_out(call.args[0], call.found))
    for name in ("float", "to"):
        wraps.call(torch.Tensor, name, _narrowed)
    wraps.call(torch.Tensor, "cpu", _fetched)
    files.reads(wraps, torch, "load")
    files.writes(wraps, torch, "save", at=1)


def _call_of_torch(wraps: Wraps, name: str, size: Callable[[Call], Told]) -> None:
    """Counts the calls of a function of torch that TorchScript knows by what it is, so that scripts of it compile."""
    import torch
    from torch.jit import _builtins as builtins

    wraps.call(torch, name, size)
    wraps.entry(builtins._get_builtin_table(), id(getattr(torch, name)), f"aten::{name}")


def wrap_numpy(wraps: Wraps, files: Files) -> None:
    """Wraps what of NumPy makes arrays and joins them."""
    import numpy

    joined = Joined()
    for name in ("array", "asarray"):
        wraps.call(numpy, name, _array_of_lists)
    for name in ("stack", "vstack", "concatenate"):
        wraps.call(numpy, name, joined)
    files.reads(wraps, numpy, "load")
    files.writes(wraps, numpy, "save", at=0)


def wrap_loader(wraps: Wraps) -> None:
    """Wraps the loader of torch, where it takes tensors that lie in memory row by row."""
    from torch.utils.data import DataLoader, TensorDataset

    original = DataLoader.__iter__

    @functools.wraps(original)
    def items(self: Any) -> Any:
        place = wraps.ledger.place()
        data = self.dataset
        if place is None or not isinstance(data, TensorDataset):
            return original(self)
        nbytes = sum(one.nbytes for one in data.tensors) // max(1, len(data))
        size = self.batch_size or 1
        return wraps.ledger.iterated(place, "loader of tensors", iter(original(self)), lambda _: (size, size * nbytes), None)

    wraps.replace(DataLoader, "__iter__", items)


def taken_out(tensor: Any, found: Any) -> Told:
    """What it is to take a value or lists out of a tensor."""
    if not _is_plain(tensor):
        return None
    if tensor.is_cuda:
        return "waits for the GPU", tensor.numel(), tensor.nbytes, None
    if isinstance(found, list):
        return "to lists", tensor.numel(), tensor.nbytes, None
    return ("value by value", 1, tensor.element_size(), None) if tensor._base is not None else None


class Joined:
    """What it is to join pieces; of each line the last result is known, to see one that grows."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], Any] = {}

    def __call__(self, call: Call) -> Told:
        pieces = call.argument()
        if not isinstance(pieces, list | tuple) or not pieces:
            return None
        found = call.found
        if hasattr(type(found), "__torch_function__") and not _is_plain(found):
            return None
        values, nbytes = found.numel() if hasattr(found, "numel") else found.size, found.nbytes
        if len(pieces) <= 8:
            last = self._last[call.place]() if call.place in self._last else None
            grows = last is not None and any(one is last for one in pieces)
            self._last[call.place] = _weak(found)
            if grows:
                return "grown in a loop", values, nbytes, None
        return ("small pieces joined", len(pieces), nbytes, None) if nbytes / len(pieces) <= _SMALL else None


def _is_plain(tensor: Any) -> bool:
    """Whether a tensor has values of its own in memory, and no code of anybody's that answers when it is asked for them."""
    import torch

    return type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided and not tensor.is_nested


def _tensor_of_lists(call: Call) -> Told:
    data = call.argument()
    found = call.found
    if not _is_plain(found):
        return None
    if type(data).__module__.startswith("datasets."):
        return "column to tensor", found.numel(), found.nbytes, None
    if not isinstance(data, list | tuple):
        return None
    arrays = data and type(data[0]).__module__.partition(".")[0] in ("numpy", "torch")
    return "list of arrays to tensor" if arrays else "list to tensor", found.numel(), found.nbytes, None


def _array_of_lists(call: Call) -> Told:
    data = call.argument()
    if type(data).__module__.startswith("datasets."):
        return "column to tensor", call.found.size, call.found.nbytes, None
    if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple | float | int):
        return "list to tensor", call.found.size, call.found.nbytes, None
    return None


def _fetched(call: Call) -> Told:
    fetched = _is_plain(call.args[0]) and call.args[0].is_cuda
    return ("waits for the GPU", call.found.numel(), call.found.nbytes, None) if fetched else None


def _narrowed(call: Call) -> Told:
    if _is_plain(call.args[0]) and str(call.args[0].dtype) == "torch.float64" and str(call.found.dtype) in _NARROW:
        return "float64", call.found.numel(), call.args[0].nbytes, None
    return None


def _weak(found: Any) -> Any:
    try:
        return weakref.ref(found)
    except TypeError:
        return lambda: found
