"""A diffusion model small enough to fine-tune a thousand adapters of it in minutes.

Images of 8 x 8 pixels become t = 16 tokens of 2 x 2 pixels; three transformer blocks with self-attention (attn1) and
cross-attention on a prompt (attn2) predict the noise in them. The modules are named as in Stable Diffusion 1.5, so
an adapter of this model has the layout of one of that model in small.

Letters: n adapters, b noisy images an adapter, t tokens, s words of a prompt, r rank, (m, k) shape of a module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that torch gives it

WIDTH, TEXT_WIDTH, HEADS = 32, 16, 4  # text is narrower than the image stream's wider blocks, as 768 is to 1280
SIDE, PATCH = 8, 2
PIXELS = SIDE * SIDE
BLOCKS = tuple(f"{place}.attentions.0.transformer_blocks.0" for place in ("down_blocks.0", "mid_block", "up_blocks.0"))
PROJECTIONS = ("attn1.to_q", "attn1.to_v", "attn2.to_q", "attn2.to_v")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = ("a", "photo", "of", "something", *DIGITS)
NEUTRAL = "something"

# Module -> (down (n, r, k), up (n, m, r)); modules that are left out keep their base weights.
Factors = Mapping[str, tuple[Tensor, Tensor]]
NO_FACTORS: Factors = {}


def prompt(word: str) -> list[int]:
    """Token ids (s,) of "a photo of <word>"."""
    return [WORDS.index(part) for part in ("a", "photo", "of", word)]


class Projection(nn.Linear):
    """x W^T without bias, plus (x A^T) B^T with the pair (A, B) of each adapter."""

    def __init__(self, k: int, m: int, module: str) -> None:
        super().__init__(k, m, bias=False)
        self.module = module

    def forward(self, x: Tensor, factors: Factors = NO_FACTORS) -> Tensor:
        """Shapes: (n, b, t, k) -> (n, b, t, m)."""
        base = F.linear(x, self.weight)
        if self.module not in factors:
            return base
        down, up = factors[self.module]
        update = torch.bmm(torch.bmm(x.flatten(1, 2), down.mT), up.mT)
        return base + update.view_as(base)


class Attention(nn.Module):
    """Multi-head attention of x on a context."""

    def __init__(self, k: int, module: str) -> None:
        super().__init__()
        self.to_q = Projection(WIDTH, WIDTH, f"{module}.to_q")
        self.to_k = Projection(k, WIDTH, f"{module}.to_k")
        self.to_v = Projection(k, WIDTH, f"{module}.to_v")
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, context: Tensor, factors: Factors) -> Tensor:
        """Shapes: x (n, b, t, WIDTH), context (n, b or 1, t or s, k) -> (n, b, t, WIDTH)."""
        parts = (self.to_q(x, factors), self.to_k(context, factors), self.to_v(context, factors))
        q, k, v = (part.view(*part.shape[:3], HEADS, -1).transpose(2, 3) for part in parts)
        weights = torch.softmax(q @ k.mT / math.sqrt(WIDTH // HEADS), dim=-1)
        out: Tensor = self.to_out((weights @ v).transpose(2, 3).flatten(-2))
        return out


class Block(nn.Module):
    """A transformer block: self-attention, cross-attention on the prompt, feed-forward."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.attn1 = Attention(WIDTH, f"{module}.attn1")
        self.attn2 = Attention(TEXT_WIDTH, f"{module}.attn2")
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor, words: Tensor, factors: Factors) -> Tensor:
        """Shapes: x (n, b, t, WIDTH), words (n, b or 1, s, TEXT_WIDTH) -> (n, b, t, WIDTH)."""
        inner = self.norm1(x)
        x = x + self.attn1(inner, inner, factors)
        x = x + self.attn2(self.norm2(x), words, factors)
        out: Tensor = x + self.feed_forward(self.norm3(x))
        return out


class Denoiser(nn.Module):
    """Predicts the noise in images from the noisy images, the noise level and a prompt."""

    def __init__(self) -> None:
        super().__init__()
        patch = PATCH * PATCH
        self.words = nn.Embedding(len(WORDS), TEXT_WIDTH)
        self.word_places = nn.Parameter(0.1 * torch.randn(4, TEXT_WIDTH))
        self.patches_in = nn.Linear(patch, WIDTH)
        self.places = nn.Parameter(0.1 * torch.randn(PIXELS // patch, WIDTH))
        self.level = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.blocks = nn.ModuleList(Block(module) for module in BLOCKS)
        self.norm = nn.LayerNorm(WIDTH)
        self.patches_out = nn.Linear(WIDTH, patch)

    def forward(self, noisy: Tensor, level: Tensor, words: Tensor, factors: Factors = NO_FACTORS) -> Tensor:
        """Shapes: noisy (n, b, PIXELS), level (n, b) in 0..1, words (n, b or 1, s) -> noise (n, b, PIXELS)."""
        context = self.words(words) + self.word_places
        x = self.patches_in(_to_patches(noisy)) + self.places + self.level(_waves(level))[:, :, None]
        for block in self.blocks:
            x = block(x, context, factors)
        return _to_pixels(self.patches_out(self.norm(x)))


def _to_patches(pixels: Tensor) -> Tensor:
    """(n, b, PIXELS) -> (n, b, t, PATCH * PATCH)."""
    cells = pixels.view(*pixels.shape[:2], SIDE // PATCH, PATCH, SIDE // PATCH, PATCH)
    return cells.transpose(3, 4).reshape(*pixels.shape[:2], -1, PATCH * PATCH)


def _to_pixels(patches: Tensor) -> Tensor:
    """The inverse of `_to_patches`."""
    cells = patches.view(*patches.shape[:2], SIDE // PATCH, SIDE // PATCH, PATCH, PATCH)
    return cells.transpose(3, 4).reshape(*patches.shape[:2], PIXELS)


def _waves(level: Tensor) -> Tensor:
    """(n, b) -> (n, b, WIDTH): sines and cosines of the noise level, from one to about a hundred radians."""
    angles = level[..., None] * torch.logspace(0, 2, WIDTH // 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def loss(model: Denoiser, images: Tensor, noise: Tensor, level: Tensor, words: Tensor, factors: Factors = NO_FACTORS) -> Tensor:
    """Mean squared error of the predicted noise on the cosine schedule, one number an adapter.

    Shapes: images and noise (n, b, PIXELS), level (n, b), words (n, b or 1, s) -> (n,).
    """
    angle = level[..., None] * (math.pi / 2)
    predicted = model(images * angle.cos() + noise * angle.sin(), level, words, factors)
    errors: Tensor = (predicted - noise).square().mean((1, 2))
    return errors


def pretrain(
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    steps: int,
    batch: int,
    rate: float,
    neutral_share: float,
    seed: int,
    say: Callable[[str], None],
    start: Denoiser | None = None,
) -> Denoiser:
    """A base model trained on images (count, PIXELS) with prompts that name the digit, or a neutral word now and then.

    The neutral word must be known to the base: adapters are trained with it.

    Args:
        start: a model whose weights it begins with.
    """
    rng = np.random.default_rng([seed, 0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Denoiser()
    if start is not None:
        model.load_state_dict(start.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    prompts = np.array([prompt(word) for word in (*DIGITS, NEUTRAL)])
    for step in range(steps):
        chosen = rng.integers(len(images), size=batch)
        named = np.where(rng.random(batch) < neutral_share, len(DIGITS), labels[chosen])
        noise = rng.standard_normal((1, batch, PIXELS), np.float32)
        level = rng.random((1, batch), np.float32)
        inputs = [torch.from_numpy(x) for x in (images[chosen][None], noise, level, prompts[named][None])]
        value = loss(model, inputs[0], inputs[1], inputs[2], inputs[3]).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, steps // 5) == 0:
            say(f"base model: step {step + 1:,} of {steps:,}, loss {value.item():.3f}")
    return model.requires_grad_(False).eval()
