"""Data sets of the Hugging Face Hub, by id or by the aliases of the original study."""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lora_perf.errors import LoraPerfError

ALIASES = {
    "1k": "jacekduszenko/lora-ws-1k",
    "10k": "jacekduszenko/lora-ws-10k",
    "50k": "jacekduszenko/lora-ws-50k",
    "100k": "jacekduszenko/lora-ws-100k",
    "small": "jacekduszenko/weights-dataset-small",
    "sanity-check": "jacekduszenko/lora-ws-sanity-check",
}


def fetch(repository: str, split: str) -> Any:
    """One split of a data set of the Hub, from the local cache where it is there.

    Raises:
        LoraPerfError: the data set cannot be had (no network, no such data set, no access).
    """
    import datasets

    try:
        with _offline_where_unreachable():
            return datasets.load_dataset(repository, split=split)
    except Exception as error:  # the Hub's clients raise dozens of kinds for an unreachable or unknown data set
        reason = (str(error).splitlines() or ["no message"])[0]
        raise LoraPerfError(
            expected=f"the data set {repository} from the Hugging Face Hub",
            found=f"no way to get it here ({type(error).__name__}: {reason})",
            fix=f"on a machine with a network run `hf download {repository} --repo-type dataset --local-dir FOLDER`, "
            "bring FOLDER here and load it by its path",
        ) from None


@contextmanager
def _offline_where_unreachable() -> Iterator[None]:
    """Without a network the clients retry for half a minute; in their offline mode they answer from the cache at once."""
    import datasets
    from huggingface_hub import constants

    host = urllib.parse.urlsplit(constants.ENDPOINT).hostname
    proxies = urllib.request.getproxies().keys() - {"no"}  # "no" lists the hosts that go without
    if host is None or proxies or _resolves(host):
        yield
        return
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False
