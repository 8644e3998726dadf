"""Whether this process belongs to a rehearsal (:mod:`withstand.rehearsal`), and what is made up in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

VARIABLE = "WITHSTAND_REHEARSAL"
"""Environment variable that names the file of facts of a rehearsal. Only steps of a rehearsal have it."""


@lru_cache
def facts() -> Mapping:
    """Facts of the rehearsal; empty outside of one.

    ``samples``: number of samples of each made-up published set; ``archives``: ``urls``, ``bytes`` and ``sha256`` of
    made-up archives by file name; ``weights``: the public weights that the random ones of a model stand for, by model;
    ``summary``: what is made up, in a sentence.
    """
    path = os.environ.get(VARIABLE)
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else {}


def mark() -> dict[str, str]:
    """What every file of a rehearsal says of itself: ``rehearsal``, with what is made up; nothing outside of one."""
    return {"rehearsal": facts()["summary"]} if facts() else {}
