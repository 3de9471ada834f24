"""Programs under watch find what they find when Python starts them, from their first line to their last exit handler."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WATCHED = [sys.executable, "-m", "lora_perf.diagnose"]

# What each prints, with its status and its errors, is compared with what Python makes of it.
PROGRAMS = {
    "its own file after a change of folder": """
        import os, sys, tempfile
        os.chdir(tempfile.gettempdir())
        print(__file__, os.path.exists(__file__), sys.argv[0], sys.path[0])
        print(sorted(globals()), __spec__, __package__, type(__loader__).__name__)
        raise ValueError("with its line")
    """,
    "what does not compile": "import broken",
    "methods whose arguments have any name": """
        class Row:
            def tolist(self, /, name, thing=2):
                return name, thing
        print(Row().tolist(name=1, thing=3))
    """,
    "calls over several lines": """
        import numpy as np
        print(np.arange(3)
            .tolist(
                7))
    """,
    "rows by numbers of NumPy": """
        import datasets, numpy as np
        rows = datasets.Dataset.from_dict({"a": [[0.5], [1.5]], "b": [3, 4]})
        print(rows[np.int64(1)]["b"], rows["a"][np.int32(0)], rows[range(1)], rows[-1]["b"])
    """,
    "tensors of other kinds, and scripts": """
        import torch
        eye = torch.eye(2).to_sparse()
        print(eye.to(torch.float64).float().layout, torch.stack([eye, eye]).shape, torch.cat([eye, eye]).shape)
        print(torch.cat([torch.zeros(2, device="meta")] * 2).double().float().shape)
        class Loud(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, args=(), kwargs=None):
                print(function.__name__)
                return super().__torch_function__(function, types, args, kwargs or {})
        one = torch.ones(2).as_subclass(Loud)
        torch.stack([one, one]).to(torch.float64).float()[0][0].item()
        @torch.jit.script
        def both(x: torch.Tensor):
            return torch.stack([x, x]) + torch.cat([x, x]).sum() + torch.tensor(1.0)
        print(both(torch.ones(2)))
    """,
    "pools of forked processes": """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(abs, [-1, -2]))
    """,
    "work after the last line": """
        import atexit, sys, threading, time
        from concurrent.futures import ThreadPoolExecutor
        def later(what):
            time.sleep(0.05)
            print(what, __name__)
        atexit.register(later, "exit handler")
        threading.Thread(target=later, args=("thread",)).start()
        ThreadPoolExecutor(1).submit(later, "pool").add_done_callback(lambda _: None)
        print(type(sys.stdout).__name__, sys.stdout is sys.__stdout__)
    """,
}


def both(folder: Path, words: list[str]) -> list[tuple[int, str, list[str]]]:
    """Status, output and errors of a program of Python and under watch, without what the watch says at the end."""
    told = []
    for command in ([sys.executable], [*WATCHED, *([] if words[0] == "-m" else ["--script"])]):
        done = subprocess.run([*command, *words], cwd=folder, capture_output=True, text=True, timeout=120)
        errors = done.stderr.splitlines()
        while len(command) > 1 and errors and "conversions of data" in errors[-1]:
            errors.pop()
        told.append((done.returncode, "\n".join(sorted(done.stdout.splitlines())), errors))
    return told


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_as_it_is_without_the_watch(name: str, tmp_path: Path) -> None:
    lines = PROGRAMS[name].strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "program.py").write_text("\n".join(line[indent:] for line in lines) + "\n")
    (tmp_path / "a" / "broken.py").write_text("x = (\n")
    own, watched = both(tmp_path, ["a/program.py"])
    assert watched == own


@pytest.mark.parametrize("name", ["pack", "pack.part"])
def test_a_module_spawns_processes_as_it_does_without_the_watch(name: str, tmp_path: Path) -> None:
    work = "from . import one\nimport multiprocessing\nif __name__ == '__main__':\n"
    work += "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
    work += "        print(pool.map(one.work, [3]), __spec__.name)\n"
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "one.py").write_text("def work(x):\n    return 2 * x\n")
    for file in ("part.py", "__main__.py"):
        (tmp_path / "pack" / file).write_text(work)
    own, watched = both(tmp_path, ["-m", name])
    assert (watched, own[0]) == (own, 0)


def test_a_link_finds_the_modules_beside_its_target_and_none_of_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "beside.py").write_text("")
    (tmp_path / "here.py").write_text("")
    (tmp_path / "bin" / "program.py").write_text("import beside\nprint('found')\nimport here\n")
    (tmp_path / "link.py").symlink_to(tmp_path / "bin" / "program.py")
    own, watched = both(tmp_path, ["link.py"])
    assert watched == own
    assert (own[:2], own[2][-1]) == ((1, "found"), "ModuleNotFoundError: No module named 'here'")


def started(folder: Path, text: str) -> subprocess.Popen[str]:
    (folder / "program.py").write_text(text)
    command = [*WATCHED, "--script", str(folder / "program.py")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_what_threads_and_exit_handlers_do_is_seen(tmp_path: Path) -> None:
    text = "import atexit, threading, time, torch\n"
    text += "def work():\n    time.sleep(0.05)\n    torch.tensor([0.5] * 20_000)\n"
    text += "atexit.register(work)\nthreading.Thread(target=work).start()\n"
    _, told = started(tmp_path, text).communicate(timeout=120)
    assert "program.py:4" in told
    assert "2 calls, 40,000 values" in told


def test_sigterm_ends_a_program_whose_threads_go_on(tmp_path: Path) -> None:
    text = "import threading, time\n"
    text += "def work():\n    threading.main_thread().join()\n    print('alone', flush=True)\n    time.sleep(100)\n"
    running = started(tmp_path, text + "threading.Thread(target=work).start()\n")
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "alone\n"
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=30)
        assert running.returncode == -signal.SIGTERM
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


def test_a_program_whose_reader_has_gone_ends(tmp_path: Path) -> None:
    running = started(tmp_path, "while True:\n    print('x' * 1000)\n")
    try:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        assert "BrokenPipeError" in running.communicate(timeout=60)[1]
        assert running.returncode != 0
    finally:
        running.kill()


def test_arguments_are_known_by_their_names_too(tmp_path: Path) -> None:
    text = "import numpy as np, torch\nvalues = [0.5] * 20_000\n"
    text += "torch.tensor(data=values)\nnp.array(object=values)\ntorch.stack(tensors=[torch.ones(1)] * 20_000)\n"
    _, told = started(tmp_path, text).communicate(timeout=120)
    assert [f"program.py:{line}" in told for line in (3, 4, 5)] == [True] * 3
