"""A Hub on this machine that answers as it is told, and data sets in a local cache, as `datasets` lays them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
