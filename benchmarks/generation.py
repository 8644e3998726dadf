"""Drawing generated images into the store, two processes side by side, against the rate asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.comparison import Comparison

ASKED = 2_000.0
"""Images per second on two cores."""

SOURCES = {
    "photographs": ({"kind": "shapetex", "split": "train"}, 20_000),
    "renditions": ({"kind": "shapetex_renditions"}, 9_000),
    "cue conflict": ({"kind": "shapetex_cue_conflict"}, 9_000),
}


def run() -> Iterator[Comparison]:
    for name, (source, images) in SOURCES.items():
        rate, title = images / _seconds(source, images), f"generation: {name}, 2 processes"
        yield Comparison.more_is_better(title, rate, ASKED, "images/s", "the rate asked for")


def _seconds(source: dict, images: int) -> float:
    """Time to draw and store two halves of a set at once, the start of the processes included."""
    program = Path(sys.executable).with_name("withstand")
    command = [program, "prepare-images", "--source", json.dumps(source), "--size", "64"]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        jobs = [
            subprocess.Popen(
                [*command, "--samples", f"{first}:{first + images // 2}", "--output", f"{folder}/{first}.h5"],
                stderr=subprocess.DEVNULL,
            )
            for first in (0, images // 2)
        ]
        if any(job.wait() for job in jobs):
            raise RuntimeError(f"prepare-images failed for {source}")
        return time.perf_counter() - start
