"""Safetensors files that lie among adapters and are none: this package's own, embeddings, states of training."""

from __future__ import annotations

import re

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.headers import Header, read_header

OWN = "lora_perf "  # how the metadata entry "format" of every file that this package writes begins
WRITTEN_HERE = "file{s} that this package wrote"
# Names of files that may be no adapters: those of this package's caches end in a key of 32 digits, the others are those that
# trainers give what they write beside an adapter.
SUSPECT = re.compile(
    r"-[0-9a-f]{32}\.safetensors$"
    r"|(?P<embedding>[-_]emb|^emb|^learned_embeds.*|embeddings?)\.safetensors$"
    r"|(?P<state>^(?:optimizer|scheduler|random_states|rng_state|ema)(?:[-_.].*)?\.safetensors$)",
    re.IGNORECASE,
)
# What programs call the tensors of textual inversions, and those of an optimiser's state.
_EMBEDDING = re.compile(r"emb_params|clip_[lg]|t5(?:xxl)?|string_to_param\.\*|<[^<>]*>")
_STATE = re.compile(r"(?:^|[._])(?:exp_avg(?:_sq)?|momentum_buffer)$")
_FACTOR = re.compile(r"lora|lycoris|hada|lokr|oft|alpha|dora|[-_.](?:down|up)\b", re.IGNORECASE)


def stray(match: re.Match[str], path: str) -> str | None:
    """What kind of file one with such a name is (see `Tree.left`); None where it may be an adapter.

    Cost: its header is read.
    """
    header = _header(path)
    if header is None:
        return None
    if is_own(header):
        return WRITTEN_HERE
    if match["state"]:
        return "file{s} of training states"
    if match["embedding"] and not any(_FACTOR.search(tensor) for tensor in header.entries):
        return "file{s} of embeddings"
    return None


def kind_of(header: Header) -> str | None:
    """What a file is by its tensors where it is no adapter, whatever its name (see `Tree.left`); None for all others."""
    if is_own(header):
        return WRITTEN_HERE
    if header.entries and all(map(_EMBEDDING.fullmatch, header.entries)):
        return "file{s} of embeddings"
    if any(map(_STATE.search, header.entries)):
        return "file{s} of training states"
    return None


def is_own(header: Header) -> bool:
    """Whether this package wrote a file: a packed zoo or features that it keeps."""
    return header.metadata.get("format", "").startswith(OWN) or header.entries.keys() == {"values"}


def read_if_own(path: str) -> bool:
    """Whether this package wrote the file at a path; False where it cannot be read."""
    header = _header(path)
    return header is not None and is_own(header)


def _header(path: str) -> Header | None:
    try:
        return read_header(path)
    except LoraPerfError:
        return None
