"""Adapter files in every dialect, written by safetensors itself or byte by byte, and the row that each stands for."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from lora_perf.core.zoo import Zoo

BLOCK = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
# m and k of dW of each module, in sorted order.
MODULES = {f"{BLOCK}.attn1.to_q": (8, 6), f"{BLOCK}.attn2.to_q": (8, 6), f"{BLOCK}.attn2.to_v": (8, 5)}
DIALECTS = ("diffusers", "diffusers-old", "diffusers-new", "peft", "kohya")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}

Factors = dict[str, tuple[Tensor, Tensor]]


def factors(
    seed: int = 0,
    rank: int | Sequence[int] = 2,
    modules: Mapping[str, tuple[int, int]] = MODULES,
    dtype: torch.dtype | None = None,
) -> Factors:
    """The (down (r, k), up (m, r)) of each module, normal numbers; of one rank or of one a module."""
    generator = torch.Generator().manual_seed(seed)
    ranks = [rank] * len(modules) if isinstance(rank, int) else rank
    return {
        module: (torch.randn(r, k, generator=generator).to(dtype), torch.randn(m, r, generator=generator).to(dtype))
        for (module, (m, k)), r in zip(modules.items(), ranks, strict=True)
    }


def names(module: str, dialect: str) -> tuple[str, str]:
    """What a dialect calls the down and the up of a module."""
    if dialect == "diffusers":
        return f"{module}.lora.down.weight", f"{module}.lora.up.weight"
    if dialect == "diffusers-old":
        parent, _, leaf = module.rpartition(".")
        return f"{parent}.processor.{leaf}_lora.down.weight", f"{parent}.processor.{leaf}_lora.up.weight"
    if dialect == "kohya":
        stem = f"lora_unet_{module.removeprefix('unet.').replace('.', '_')}"
        return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight"
    stem = f"base_model.model.{module.removeprefix('unet.')}" if dialect == "peft" else module
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def tensors(made: Factors, dialect: str = "diffusers") -> dict[str, Tensor]:
    found = {}
    for module, sides in made.items():
        found.update(zip(names(module, dialect), sides, strict=True))
    return found


def save(path: Path, content: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """A file by safetensors itself, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(content), path, metadata)
    return path


def save_in_order(path: Path, content: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """A file whose data section has the order of `content`, which safetensors would sort."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    kinds = {dtype: name for name, dtype in DTYPES.items()} | {torch.int64: "I64", torch.int8: "I8"}
    data = b""
    for name, tensor in content.items():
        begin = len(data)
        data += tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.ndim else _scalar(tensor)
        header[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, len(data)]}
    path.parent.mkdir(parents=True, exist_ok=True)
    return raw(path, json.dumps(header).encode(), data)


def _scalar(tensor: Tensor) -> bytes:
    return tensor.reshape(1).view(torch.uint8).numpy().tobytes()


def raw(path: Path, text: bytes, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def row(path: Path, dialect: str = "diffusers", modules: Mapping[str, tuple[int, int]] = MODULES) -> Tensor:
    """The row of a file by way of `load_file`: each down, then its up, as float32."""
    content = load_file(path)
    return torch.cat([content[name].float().flatten() for module in sorted(modules) for name in names(module, dialect)])


def zoo_folder(folder: Path, count: int = 4, dialect: str = "diffusers", rank: int = 2) -> list[Path]:
    """Adapters of two classes in turn, `cat/0.safetensors`, `dog/1.safetensors`, ...; the paths in the order of a zoo."""
    paths = [
        save(folder / ("cat", "dog")[i % 2] / f"{i}.safetensors", tensors(factors(i, rank), dialect)) for i in range(count)
    ]
    return sorted(paths)


def lay(folder: Path, *paths: str, dialect: str = "diffusers", texts: Mapping[str, str | bytes] | None = None) -> Path:
    """Adapters of seeds 0, 1, ... at some paths, which end in .safetensors where they name no ending, and other files."""
    for i, path in enumerate(paths):
        place = folder / path
        save(place if "." in place.name else place.with_name(f"{place.name}.safetensors"), tensors(factors(i), dialect))
    for name, text in (texts or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    return folder


def kohya(path: Path, seed: int, alphas: dict[str, Any], *, rank: int = 2, dtype: torch.dtype = torch.float32) -> Factors:
    """A kohya file with alphas of some modules; its factors."""
    made = factors(seed, rank, dtype=dtype)
    content = tensors(made, "kohya")
    for module, alpha in alphas.items():
        tensor = alpha if isinstance(alpha, torch.Tensor) else torch.tensor(alpha, dtype=dtype)
        content[names(module, "kohya")[0].replace("lora_down.weight", "alpha")] = tensor
    save(path, content)
    return made


def assert_rows(zoo: Zoo, expected: torch.Tensor) -> None:
    """The zoo has these rows, both as a whole and in blocks."""
    for part, block in zoo.blocks(nbytes=3 * 4 * zoo.layout.p):
        assert_close(block, expected[part], rtol=0, atol=0, equal_nan=True)
    assert_close(zoo.rows, expected, rtol=0, atol=0, equal_nan=True)


def updates(made: Factors, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """dW of each module in float64."""
    return {module: scale * up.double() @ down.double() for module, (down, up) in made.items()}


def found_updates(zoo: Zoo, i: int) -> dict[str, torch.Tensor]:
    """dW of each module of adapter i, from the row that the zoo reads, its scales and its layout."""
    out = np.empty((1, zoo.layout.p), np.float32)
    zoo.source.read(i, i + 1, out)
    values = torch.from_numpy(out[0]).double()
    found = {}
    for j, module in enumerate(zoo.layout.modules):
        up, down = (values[layer.columns].view(layer.shape) for layer in (module.up, module.down))
        found[module.name] = (1.0 if zoo.scales is None else zoo.scales[i, j].double()) * up @ down
    return found
