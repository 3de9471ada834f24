"""A Hub on this machine that answers as it is told, and data sets in a local cache, as `datasets` lays them."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

_COMMIT = "a" * 40


@contextmanager
def hub(status: int, headers: Mapping[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """A Hub that answers every question with a status, 0 for none at all: its address, and the paths that it is asked for."""
    done = threading.Event()
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if not status:
                done.wait(20)
                return
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        done.set()
        server.shutdown()
        server.server_close()


class Repository:
    """Files of a repository that a `serving` Hub shows."""

    def __init__(self, files: Mapping[str, bytes], kind: str = "datasets", *, gated: bool = False) -> None:
        self.files = dict(files)
        self.kind = kind
        self.gated = gated
        self.commit = hashlib.sha1(
            repr(sorted((name, hash(content)) for name, content in self.files.items())).encode()
        ).hexdigest()


@contextmanager
def serving(repositories: Mapping[str, Repository]) -> Iterator[tuple[str, list[str], dict[str, int]]]:
    """A small imitation of the Hub over HTTP: its address, the files that were fetched, and how many bytes of a file it sends
    before it breaks the connection off."""
    fetched: list[str] = []
    breaks: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(send=True)

        def do_HEAD(self) -> None:
            self._answer(send=False)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            given = self.rfile.read(length).decode()
            try:
                paths = json.loads(given)["paths"]
            except ValueError:
                paths = urllib.parse.parse_qs(given)["paths"]
            self._answer(send=True, paths=paths)

        def _answer(self, *, send: bool, paths: Sequence[str] | None = None) -> None:
            path = urllib.parse.unquote(self.path.partition("?")[0])
            match = re.fullmatch(r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(\w[\w-]*)/?(.*))?", path)
            if match:
                kind, name, what, rest = match[1], match[2], match[3], match[4] or ""
            else:
                match = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.*)", path)
                if not match:
                    return self._error(404, "EntryNotFound")
                kind, name, what, rest = "datasets" if match[1] else "models", match[2], "file", f"{match[3]}/{match[4]}"
            one = repositories.get(name)
            if one is None or one.kind != kind:
                return self._error(401, "RepoNotFound")
            revision, _, rest = rest.partition("/")
            if what in ("revision", "tree", "paths-info", "file") and revision not in ("main", one.commit):
                return self._error(404, "RevisionNotFound")
            if what == "file":
                return self._error(403, "GatedRepo") if one.gated else self._file(one, rest, send)
            if what in (None, "revision"):
                siblings = [{"rfilename": path, "size": len(content)} for path, content in one.files.items()]
                about = {
                    "id": name,
                    "sha": one.commit,
                    "siblings": siblings,
                    "private": False,
                    "gated": "manual" if one.gated else False,
                }
                return self._json(about | {"tags": [], "downloads": 0, "likes": 0, "disabled": False})
            if what == "tree":
                return self._json([self._entry(one, path) for path in self._below(one, rest)])
            if what == "paths-info":
                known = set(self._below(one, ""))
                return self._json([self._entry(one, path) for path in paths or [] if path in known])
            return self._error(404, "EntryNotFound")

        @staticmethod
        def _below(one: Repository, folder: str) -> list[str]:
            files = [path for path in one.files if not folder or path.startswith(folder + "/")]
            return sorted({*files, *(above for path in files for above in map(str, Path(path).parents) if above != ".")})

        @staticmethod
        def _entry(one: Repository, path: str) -> dict[str, Any]:
            if path not in one.files:
                return {"type": "directory", "path": path, "oid": "d" * 40, "size": 0}
            return {
                "type": "file",
                "path": path,
                "oid": hashlib.sha1(one.files[path]).hexdigest(),
                "size": len(one.files[path]),
            }

        def _file(self, one: Repository, path: str, send: bool) -> None:
            content = one.files.get(path)
            if content is None:
                return self._error(404, "EntryNotFound")
            start = 0
            if (asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))) is not None:
                start = int(asked[1])
                stop = int(asked[2]) + 1 if asked[2] else len(content)
            part = content[start:stop] if start or asked else content
            self.send_response(206 if asked else 200)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", one.commit)
            self.send_header("Accept-Ranges", "bytes")
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if send:
                fetched.append(path)
                if path in breaks:
                    self.wfile.write(part[: breaks[path]])
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                else:
                    self.wfile.write(part)

        def _json(self, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _error(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", fetched, breaks
    finally:
        server.shutdown()
        server.server_close()


def cached(cache: Path, repository: str, splits: Mapping[str, pa.Table], config: str = "default") -> None:
    """Puts a data set into a cache, as a Hub data set of parquet files stands there after it was fetched."""
    owner, name = repository.split("/")
    files = {}
    for split, table in splits.items():
        files[split] = str(cache / f"{split}-{config}.parquet")
        pq.write_table(table, files[split])
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(cache / "made"))
    made = next((cache / "made").glob("parquet/*/*/*/"))
    target = cache / f"{owner}___{name}" / config / "0.0.0" / _COMMIT
    target.parent.mkdir(parents=True)
    made.rename(target)
    for path in target.glob("parquet-*"):
        path.rename(target / path.name.replace("parquet-", f"{name}-", 1))
    info = json.loads((target / "dataset_info.json").read_text())
    info |= {"builder_name": "parquet", "dataset_name": name, "config_name": config}
    for split in info["splits"].values():
        split["dataset_name"] = name
    (target / "dataset_info.json").write_text(json.dumps(info))
    for path in cache.glob("made/parquet/*"):
        for lock in path.rglob("*.lock"):
            lock.unlink()
