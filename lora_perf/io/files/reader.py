"""The reading of adapter files one after the other: the header of each, and what stands beside it."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.dialects.scales import is_mlx
from lora_perf.io.dialects.statements import scale_entries
from lora_perf.io.files.adapter import Meaning, contradictions, meaning_of, read_scales
from lora_perf.io.files.metadata import PEFT_WEIGHTS, read_object
from lora_perf.io.files.strays import kind_of
from lora_perf.io.files.tree import Tree, parent
from lora_perf.io.headers import HeaderError, bad_file, check_size, open_file, parse_header, read_text, reason, split_metadata
from lora_perf.io.members import Member

# Of a configuration, what users compare adapters by.
_TOLD = ("base_model_name_or_path", "r", "lora_alpha")
WHOLE_ADAPTER = "a whole adapter in one file"
_SHARD = re.compile(r"-(\d{4,})-of-(\d{4,})\.safetensors$", re.IGNORECASE)


class NoAdapterError(Exception):
    """A file that is left alone, since it is not meant as an adapter; the text is its kind as a plural."""


@dataclass(slots=True)
class Opened:
    """An adapter file whose header was read.

    Attributes:
        member: its path, and its class as soon as that is known.
        meaning: of its header.
        scales: (modules,) of dW.
        begin: of its data section.
        size: of the file in bytes.
        changed: when it was last changed, in nanoseconds.
        node: what the system knows the file by, whatever its names.
        problems: what it states of its scales and does not hold.
    """

    member: Member
    meaning: Meaning
    scales: NDArray[np.float64]
    begin: int
    size: int
    changed: int
    node: tuple[int, int]
    problems: tuple[str, ...] = ()


class Reader:
    """Opens files one after the other and knows the headers that it has seen."""

    def __init__(self, folder: str, tree: Tree) -> None:
        self._folder = folder
        self._configs = tree.configs
        self._told = tree.headers
        self._neighbours = Counter(map(parent, tree.adapters)) + Counter(tree.others) if tree.configs else Counter()
        self._known: dict[tuple[str, tuple[tuple[str, str], ...], str | None, str | None], Meaning] = {}
        self._last_text = b""
        self._last: tuple[tuple[tuple[str, str], ...], str] = ((), "")

    def open(self, member: Member) -> Opened:
        """Reads the header of one file, and its alphas where it has some."""
        path = f"{self._folder}/{member.path}"
        try:
            descriptor, status = open_file(path)
            try:
                text = read_text(descriptor, status.st_size, 8 + max(len(self._last_text), 1 << 10))
                begin = 8 + len(text)
                meaning = self._meaning(text, status.st_size, member.path)
                check_size(status.st_size, begin + meaning.nbytes)
                scales = read_scales(meaning, descriptor, begin)
                problems = contradictions(meaning, scales) if meaning.claims else ()
            finally:
                os.close(descriptor)
        except OSError as error:
            raise bad_file(path, reason(error, path)) from None
        except HeaderError as error:
            raise bad_file(path, str(error), error.fix) from None
        except EOFError:
            raise bad_file(path, "the end of the file") from None
        except LoraPerfError as error:
            raise error.but(expected=f"{error.expected} in {path}") from None
        node = status.st_dev, status.st_ino
        return Opened(member, meaning, scales, begin, status.st_size, status.st_mtime_ns, node, problems)

    def entries(self, path: str) -> dict[str, Any]:
        """What the header of a file says by name, and of its configuration what tells adapters apart."""
        try:
            descriptor, status = open_file(f"{self._folder}/{path}")
            try:
                metadata, _ = split_metadata(read_text(descriptor, status.st_size))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise bad_file(path, reason(error, path)) from None
        except HeaderError as error:
            raise bad_file(path, str(error), error.fix) from None
        config, _ = self._config(path)
        return {**{name: value for name, value in (config or {}).items() if name in _TOLD}, **metadata}

    def _meaning(self, text: bytes, size: int, path: str) -> Meaning:
        if "-of-" in path and (shard := _SHARD.search(path)) and int(shard[2]) > 1:
            raise LoraPerfError(
                expected=WHOLE_ADAPTER,
                found=f"shard {int(shard[1])} of {int(shard[2])} of one",
                fix="save the adapter again with a larger max_shard_size, or join its shards into one file",
            )
        if text != self._last_text:
            metadata, rest = split_metadata(text)
            self._last_text, self._last = text, (scale_entries(metadata), rest)
            if not metadata.keys() <= self._told.keys():
                self._told |= metadata
        stated, rest = self._last
        config, unclear = self._config(path)
        # Of the metadata only these entries have a meaning; the others differ from file to file where a trainer logs into them.
        key = rest, stated, None if config is None else repr(config), unclear
        if key not in self._known:
            header = parse_header(text, size)
            if kind := kind_of(header):
                raise NoAdapterError(kind)
            if not header.entries:
                raise HeaderError(
                    "no tensor (DeepSpeed's ZeRO-3 leaves such files where weights are not gathered)",
                    "save the adapter again with the weights gathered (stage3_gather_16bit_weights_on_model_save)",
                )
            self._known[key] = meaning_of(header, config, unclear)
        return self._known[key]

    def _config(self, path: str) -> tuple[dict[str, Any] | None, str | None]:
        """The configuration beside a file, or, where it may be that of another file, what stands there."""
        inner, _, name = path.rpartition("/")
        if inner not in self._configs:
            return None, None
        config = read_object(os.path.join(self._folder, self._configs[inner]))
        # A renamed file keeps its configuration; mlx-lm writes the checkpoints of a run side by side, with one for all.
        if name.lower() == PEFT_WEIGHTS or self._neighbours[inner] == 1 or is_mlx(config):
            self._told |= {name: config[name] for name in _TOLD if name in config}
            return config, None
        return None, f"{self._neighbours[inner]} adapters beside it, so that it is unclear whose it is"
