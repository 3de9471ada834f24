"""Folders of adapter files with one fault each, and inspections of them."""

from __future__ import annotations

from pathlib import Path

import torch

from lora_perf.inspect import Inspection, inspection
from tests.io.adapters import Factors, factors, save, tensors

# Wide enough that independent A's are told from shared ones: 12 to 20 entries of A are too few.
MODULES = {
    f"unet.down_blocks.0.attentions.0.transformer_blocks.0.{kind}": (24, 40)
    for kind in ("attn1.to_q", "attn1.to_v", "attn2.to_q", "attn2.to_v")
}


def wide(seed: int, rank: int = 2) -> Factors:
    """Factors of four modules of (24, 40)."""
    return factors(seed, rank, MODULES)


def clean_folder(folder: Path, count: int = 8, rank: int = 2) -> Path:
    """Adapters of two classes, `cat/0.safetensors`, `dog/1.safetensors`, ..., with nothing wrong."""
    for i in range(count):
        add(folder, i, wide(i, rank))
    return folder


def add(folder: Path, i: int | str, made: Factors, *, label: str | None = None, dialect: str = "diffusers") -> str:
    """Writes one more adapter; its path in the folder."""
    place = f"{label or ('cat', 'dog')[int(i) % 2]}/{i}.safetensors"
    save(folder / place, tensors(made, dialect))
    return place


def turned(made: Factors, seed: int = 0) -> Factors:
    """The same updates by other factors: (B G, G^-1 A) with random G near the identity, computed in float64."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for module, (down, up) in made.items():
        r = len(down)
        gauge = torch.eye(r, dtype=torch.float64) + 0.3 * torch.randn(r, r, generator=generator, dtype=torch.float64)
        gauge += 2 * torch.eye(r, dtype=torch.float64)
        found[module] = (torch.linalg.solve(gauge, down.double()).float().contiguous(), (up.double() @ gauge).float())
    return found


def moved(made: Factors, size: float, seed: int = 99) -> Factors:
    """Factors with noise of this size beside them."""
    generator = torch.Generator().manual_seed(seed)
    return {
        module: tuple(side + size * torch.randn(side.shape, generator=generator) for side in sides)  # type: ignore[misc]
        for module, sides in made.items()
    }


def problems(folder: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Kind and adapters of everything that is wrong with a folder."""
    return [(one.kind, one.adapters) for one in inspection(folder).problems]


def only_problem(found: Inspection, kind: str) -> str:
    """The text of the one problem, which is of this kind."""
    assert [one.kind for one in found.problems] == [kind], found.problems
    return found.problems[0].text
