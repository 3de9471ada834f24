"""Changes to files: bits, lengths, names, places, JSON values, kinds of files, permissions, numbers and shapes."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

Change = Callable[[Path, Path, Random], str]


@dataclass(frozen=True)
class Mutation:
    """A change of one file below a folder.

    Attributes:
        change: does it to a file; returns what it did. Raises NotHere where it does not apply.
        harmless: what the folder says is the same afterwards, and has to be read.
        weight: how often it is drawn.
    """

    name: str
    change: Change
    harmless: bool = False
    weight: int = 2


class NotHere(Exception):  # noqa: N818 - another mutation is drawn
    """The mutation does not apply to this file."""


MUTATIONS: list[Mutation] = []


def mutation(*, harmless: bool = False, weight: int = 2) -> Callable[[Change], Change]:
    def enter(change: Change) -> Change:
        MUTATIONS.append(Mutation(change.__name__.removeprefix("_"), change, harmless, weight))
        return change

    return enter


# Bytes


@mutation(weight=10)
def _flipped_bit(path: Path, root: Path, random: Random) -> str:
    content = bytearray(path.read_bytes())
    if not content:
        raise NotHere
    limit = len(content)
    if random.random() < 0.4:  # where a format says what is what
        limit = min(limit, 8 + struct.unpack("<Q", content[:8])[0] if path.suffix == ".safetensors" else 300)
    place, bit = random.randrange(limit), random.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {len(content)}"


@mutation(weight=4)
def _truncated(path: Path, root: Path, random: Random) -> str:
    size = path.stat().st_size
    length = random.randrange(size) if size else 0
    os.truncate(path, length)
    return f"{length} of {size} bytes"


@mutation()
def _longer(path: Path, root: Path, random: Random) -> str:
    with open(path, "ab") as file:
        file.write(random.randbytes(random.randint(1, 100)))
    return "bytes after the end"


@mutation()
def _zeroed_block(path: Path, root: Path, random: Random) -> str:
    content = bytearray(path.read_bytes())
    if not content:
        raise NotHere
    place = random.randrange(len(content))
    length = min(random.choice((16, 512)), len(content) - place)
    if not any(content[place : place + length]):
        raise NotHere
    content[place : place + length] = bytes(length)
    path.write_bytes(content)
    return f"{length} zeros at {place}"


def _contents() -> dict[str, bytes]:
    oid = "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
    return {
        "nothing": b"",
        "an HTML page": b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n",
        "a JSON error": b'{"error": "Repository not found"}\n',
        "an LFS pointer": f"version https://git-lfs.github.com/spec/v1\noid {oid}\nsize 12345\n".encode(),
        "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07os.path\x94.",
        "a zip": b"PK\x03\x04" + bytes(60),
        "zeros": bytes(4096),
        "spaces": b" " * 300,
        "JSON null": b"null",
        "a deep JSON list": b"[" * 100_000,
        "a huge header": struct.pack("<Q", 1 << 60) + b"{}",
        "latin-1": "{'f\xfcr': 1}".encode("latin-1"),
    }


@mutation(weight=6)
def _other_content(path: Path, root: Path, random: Random) -> str:
    name = random.choice(sorted(_contents()))
    path.write_bytes(_contents()[name])
    return name


# Kinds of files


@mutation(weight=8)
def _other_kind(path: Path, root: Path, random: Random) -> str:
    kind = random.choice(("a FIFO", "a socket", "a folder", "a full folder", "a loop of links", "a broken link", "a device"))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        here = os.getcwd()
        os.chdir(path.parent)  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
        os.chdir(here)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a full folder":
        path.mkdir()
        (path / "inside").write_bytes(b"x")
    elif kind == "a loop of links":
        path.symlink_to(path.name)
    elif kind == "a broken link":
        path.symlink_to("nowhere")
    else:
        path.symlink_to("/dev/zero")
    return kind


@mutation()
def _no_permission(path: Path, root: Path, random: Random) -> str:
    one = random.choice((path, path.parent))
    one.chmod(0)
    return "mode 000" + (" of the folder" if one != path else "")


# Names and places


@mutation(weight=3)
def _removed(path: Path, root: Path, random: Random) -> str:
    path.unlink()
    return "removed"


@mutation(weight=4)
def _copied(path: Path, root: Path, random: Random) -> str:
    place = path.with_name(f"{path.stem} (1){path.suffix}" if random.random() < 0.5 else f"copy-of-{path.name}")
    shutil.copy2(path, place)
    return f"copied to {place.name}"


@mutation(weight=4)
def _renamed(path: Path, root: Path, random: Random) -> str:
    names = [
        f"{path.stem}{path.suffix.upper()}",
        f".{path.name}",
        f"_{path.name}",
        f"{path.name}.bak",
        f"a\nb[/]$x^{path.suffix}",
    ]
    names += [
        f"train{path.suffix}",
        f"{path.stem}-00001-of-00002{path.suffix}",
        f"\x1b[31m{path.name}",
        f"{path.stem}\udcff{path.suffix}",
    ]
    place = path.with_name(random.choice(names))
    path.rename(place)
    return f"renamed to {place.name!r}"


@mutation(weight=3)
def _moved(path: Path, root: Path, random: Random) -> str:
    if not root.is_dir():
        raise NotHere
    folders = sorted(one for one in root.rglob("*") if one.is_dir() and one != path.parent) or [root]
    place = random.choice([*folders, root, path.parent / "deeper"]) / path.name
    if place == path or place.exists():
        raise NotHere
    place.parent.mkdir(exist_ok=True)
    path.rename(place)
    return f"moved to {place.relative_to(root)}"


@mutation(weight=4)
def _swapped(path: Path, root: Path, random: Random) -> str:
    others = sorted(one for one in root.rglob(f"*{path.suffix}") if one.is_file() and one != path)
    if not others:
        raise NotHere
    other = random.choice(others)
    content = path.read_bytes()
    if content == other.read_bytes():
        raise NotHere
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)
    return f"swapped with {other.relative_to(root)}"


@mutation()
def _linked(path: Path, root: Path, random: Random) -> str:
    place = path.with_name(f"link-{path.name}")
    place.symlink_to(path.name)
    return "linked beside itself"


@mutation()
def _folder_renamed(path: Path, root: Path, random: Random) -> str:
    if path.parent == root or not root.is_dir():
        raise NotHere
    place = path.parent.with_name(random.choice(("train", "test", "cat-like", "_temporary", ".hidden", "[/]", "CAT", "0")))
    if place.exists():
        raise NotHere
    path.parent.rename(place)
    return f"folder renamed to {place.name}"
