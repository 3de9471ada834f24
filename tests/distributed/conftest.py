"""A cluster of two worker processes that tests of row blocks share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.io.conftest import data as data


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """HOST:PORT of the scheduler."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=logging.CRITICAL
    ) as cluster:
        yield cluster.scheduler_address
