from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import FloatRows
from lora_perf.io.store import verify
from lora_perf.zoos.synthetic import SyntheticRows, generate, main, write
from tests.zoos.synthetic import STORAGES, TINY, Storage

# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 0}, "expected --classes of at least 1; found 0; change --classes"),
        ({"adapters": 2}, "expected --adapters of at least 3; found 2"),
        ({"rank": 0}, "expected --rank from 1 to 8; found 0"),
        ({"rank": 9}, "expected --rank from 1 to 8; found 9"),
        ({"layout": "sd15", "rank": 321}, "expected --rank from 1 to 320; found 321"),
        ({"seed": -1}, "expected --seed of at least 0; found -1"),
        ({"layers": 0}, "expected --layers from 1 to 24; found 0"),
        ({"layers": 25}, "expected --layers from 1 to 24; found 25"),
        ({"shards": 0}, "expected --shards from 1 to 40; found 0"),
        ({"shards": 41}, "expected --shards from 1 to 40; found 41"),
        ({"shards": 2, "storage": "packed"}, "expected no --shards for the one packed file; found 2; leave out --shards"),
        ({"shards": 2, "storage": "folder"}, "expected no --shards for a file an adapter; found 2; leave out --shards"),
        ({"preset": "sanity-check"}, "with the preset sanity-check; found 40; leave out --preset or --adapters"),
    ],
)
def test_arguments_that_are_not_possible_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = replace(TINY, out=tmp_path / "zoo", **change)
    with pytest.raises(LoraPerfError, match=message):
        write(config)
    with pytest.raises(LoraPerfError, match=message):
        generate(config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", ["nested", "packed"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_a_path_that_exists_is_refused_and_kept(storage: Storage, kind: str, tmp_path: Path) -> None:
    out = tmp_path / "zoo"
    if kind == "file":
        out.touch()
    elif kind == "folder":
        out.mkdir()
    else:
        out.symlink_to("nowhere")
    with pytest.raises(LoraPerfError, match=r"expected a path that does not exist yet; found .*zoo; remove it"):
        write(replace(TINY, out=out, storage=storage))
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_place_that_cannot_be_written_is_refused(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LoraPerfError, match=r"that can be written for .*zoo; found (File exists|Not a directory)"):
        write(replace(TINY, out=tmp_path / "file" / "zoo", storage=storage))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("error", "raised"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left"), LoraPerfError)]
)
def test_a_write_that_ends_early_leaves_nothing(
    storage: Storage, error: BaseException, raised: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = SyntheticRows.read

    def broken(self: SyntheticRows, start: int, stop: int, out: FloatRows) -> None:
        if stop == self.n:
            raise error
        read(self, start, stop, out)

    monkeypatch.setattr(SyntheticRows, "read", broken)
    with pytest.raises(raised, match=None if raised is KeyboardInterrupt else "No space left"):
        write(replace(TINY, out=tmp_path / "zoo", storage=storage))
    assert list(tmp_path.iterdir()) == []


# Command line and memory


def test_the_command_writes_the_zoo_of_its_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "zoo"
    arguments = ["--adapters", "40", "--layout", "tiny", "--rank", "2", "--classes", "3", "--storage", "packed", "--seed", "5"]
    assert main([str(out), *arguments]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert verify(out) == generate(TINY).fingerprint


def test_a_refusal_is_one_line_and_status_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--layout", "tiny"]) == 2
    assert (
        capsys.readouterr().err
        == f"error: expected a path that does not exist yet; found {tmp_path}; remove it or choose another path\n"
    )


@pytest.mark.parametrize("arguments", [[], ["x", "--adapters", "many"], ["x", "--layout", "sdxl"], ["x", "--colour", "red"]])
def test_arguments_that_cannot_be_read_are_status_two(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lora_perf.zoos.synthetic", str(tmp_path / "zoo"), "--adapters", "100000"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.rglob("*.arrow")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) != 0
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_adapters(run_python: Callable[..., str], tmp_path: Path) -> None:
    program = """
import resource, shutil, sys
from pathlib import Path
from lora_perf.zoos.synthetic import SyntheticConfig, write
for n in (90, 290):  # 36 and 116 MB, both more than a record batch
    write(SyntheticConfig(Path(sys.argv[1], "zoo"), adapters=n, shards=1))
    shutil.rmtree(Path(sys.argv[1], "zoo"))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""
    small, large = map(int, run_python(program, tmp_path).split())
    assert large - small < 20_000_000
