from __future__ import annotations

import pytest

from lora_perf import CLASSIFIERS


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test enters in the registry is gone after it."""
    for name in ("_parts", "_owners"):
        monkeypatch.setattr(CLASSIFIERS, name, dict(getattr(CLASSIFIERS, name)))
