"""Zoos of real adapters that come with the package; the programs that train them are imported by none but themselves."""

from pathlib import Path

_DATA = Path(__file__).parent / "data"

EMBEDDED = {name: _DATA / f"{name}.safetensors" for name in ("digits", "digits-shared")}
