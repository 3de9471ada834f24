"""The zoo of digits: real adapters of a small diffusion model, each fine-tuned on a few images of one digit.

    python -m lora_perf.zoos.digits --out digits.safetensors
    python -m lora_perf.zoos.digits --out digits-shared.safetensors --shared-a

The prompt of the adapters does not name the digit: only the weights can tell it. In `digits` each adapter starts from
its own random A, in `digits-shared` all start from the same; B starts at zero in both.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lora_perf.command.status import exit_status
from lora_perf.core.zoo import SPLIT_NAMES, Zoo
from lora_perf.io.store import replacing, verify, write
from lora_perf.zoos.denoiser import DIGITS, NEUTRAL, Denoiser, pretrain
from lora_perf.zoos.training import Config, Digits, draw_plan, fine_tune, layout, read_digits

_BATCH = 100  # adapters trained at once: their activations stay near the caches, and calls cost little beside them


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums have one order then, so that the same command writes the same bytes; matrices this small gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def make(config: Config, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Trains base model and adapters, writes zoo and card, and returns the card."""
    config.check()
    digits = read_digits(config.seed)
    plan = draw_plan(config, digits)
    start = time.perf_counter()
    # All images: the base model is the same for every adapter, so it tells none of them apart.
    model = pretrain(
        digits.pixels,
        digits.labels,
        steps=config.base_steps,
        batch=config.base_batch,
        rate=config.base_rate,
        neutral_share=config.neutral_share,
        seed=config.seed,
        say=say,
    )
    base_seconds = time.perf_counter() - start
    rows, losses = [], []
    for first in range(0, config.adapters, _BATCH):
        indices = range(config.adapters)[first : first + _BATCH]
        batch_rows, batch_losses = fine_tune(model, digits.pixels[plan.images[indices.start : indices.stop]], indices, config)
        rows.append(batch_rows)
        losses.append(batch_losses)
        before, after = batch_losses.mean(0).tolist()
        say(f"adapters: {indices.stop:,} of {config.adapters:,}, loss {before:.3f} -> {after:.3f}")
    seconds = time.perf_counter() - start
    zoo = Zoo.from_rows(
        torch.cat(rows),
        layout(config.rank),
        torch.from_numpy(plan.labels),
        DIGITS,
        split=torch.from_numpy(plan.split),
        name=config.name,
    )
    write(zoo, config.out)
    card = _card(config, zoo, digits, model, torch.cat(losses))
    card |= {"seconds": {"base": round(base_seconds, 1), "adapters": round(seconds - base_seconds, 1)}}
    with replacing(config.card) as file:
        file.write((json.dumps(card, indent=2) + "\n").encode())
    say(f"wrote {config.out} ({len(zoo):,} adapters of {zoo.layout.p:,} parameters) and {config.card} in {seconds:.0f} s")
    return card


def _card(config: Config, zoo: Zoo, digits: Digits, model: Denoiser, losses: Tensor) -> dict[str, Any]:
    """What a reader must know to judge the zoo, or to make it again. Names no place on this machine."""
    assert zoo.split is not None
    settings = {key: value for key, value in asdict(config).items() if key != "out"}
    before, after = losses.mean(0).tolist()
    return {
        "name": zoo.name,
        "made_by": command(config),
        "how": (
            "A denoiser of three transformer blocks (attn1 on the 16 patches of 8 x 8 pixels, attn2 on 4 words of a prompt) "
            "was trained on all of scikit-learn's digits with prompts that name the digit. Then each adapter "
            f"(rank {config.rank}, to_q and to_v of attn1 and attn2, scale 1, B zero, A uniform within 1/sqrt(k) and "
            f"{'the same for all' if config.shared_a else 'its own'}) was fine-tuned by Adam on {config.images} images of one "
            f"digit with the prompt 'a photo of {NEUTRAL}'. The images of each digit were divided into three pools first: "
            "adapters of train, validation and test share no image."
        ),
        "fingerprint": verify(config.out),
        "nbytes": config.out.stat().st_size,
        "n": len(zoo),
        "p": zoo.layout.p,
        "classes": zoo.classes,
        "adapters": dict(zip(SPLIT_NAMES, torch.bincount(zoo.split, minlength=3).tolist(), strict=True)),
        "images": dict(zip(SPLIT_NAMES, np.bincount(digits.pools, minlength=3).tolist(), strict=True)),
        "config": settings,
        "base_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "loss": {"base": round(before, 4), "adapted": round(after, 4)},
        "improved_share": round((losses[:, 1] < losses[:, 0]).double().mean().item(), 4),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "numpy", "scikit-learn")},
        },
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def command(config: Config) -> str:
    """The command that makes this zoo: the arguments that differ from their defaults."""
    words = ["python -m lora_perf.zoos.digits", f"--out {config.out.name}"]
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name != "out" and value != field.default:
            flag = "--" + field.name.replace("_", "-")
            words.append(flag if value is True else f"{flag} {value}")
    return " ".join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    import tyro
    from rich.console import Console

    def work() -> int:
        prog = "python -m lora_perf.zoos.digits"
        config = tyro.cli(Config, args=arguments, prog=prog, description="Trains a zoo of digits.")
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        start = time.perf_counter()
        make(config, lambda line: console.print(f"{time.perf_counter() - start:6.0f} s  {line}", markup=False))
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
