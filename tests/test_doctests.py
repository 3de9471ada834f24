"""The examples in docstrings run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import lora_perf
from lora_perf.audit import Audit
from lora_perf.core.adapter import Adapter
from lora_perf.core.features import Features
from lora_perf.core.layout import Layout
from lora_perf.inspect import Inspection

PACKAGE = Path(lora_perf.__file__).parent
WITH_EXAMPLES = sorted(path for path in PACKAGE.rglob("*.py") if re.search(r"^\s*>>> ", path.read_text(), re.MULTILINE))

STUDIES = (lora_perf.experiment, lora_perf.inspect, lora_perf.audit, lora_perf.diagnose)
_LIFTED = {name: getattr(lora_perf, name) for name in lora_perf.__all__}
PUBLIC = {name: one for name, one in _LIFTED.items() if one not in STUDIES}
PUBLIC |= {f"{one.__name__}.run": one.run for one in STUDIES}
PUBLIC |= {one.__name__: one for one in (Adapter, Audit, Features, Inspection, Layout)}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(PUBLIC[name]) or "")


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_examples_of_docstrings_give_what_they_say(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert done.attempted > 0
    assert done.failed == 0
