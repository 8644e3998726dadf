"""The models that come with withstand: weights as package data, each carrying its recipe in its header."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent
INDEX = FOLDER / "index.json"


@lru_cache
def index() -> dict[str, dict]:
    """By name: digest, recipe, validation accuracy and parameters of each model."""
    return json.loads(INDEX.read_text(encoding="utf-8")) if INDEX.exists() else {}


def names() -> list[str]:
    """The models that come with withstand."""
    return sorted(index())


def weights(name: str) -> Path:
    """Where the weights of a model lie."""
    return FOLDER / f"{name}.safetensors"
