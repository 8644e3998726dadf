"""Planning large studies by dry-run against the time allowed for it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.comparison import Comparison

BUDGETS = {30: 30.0, 300: 180.0}
"""Seconds allowed, by number of models."""

FAMILIES = {
    "noise": ["gaussian_noise"],
    "blur": ["defocus_blur"],
    "weather": ["brightness"],
    "digital": ["contrast", "jpeg_compression"],
}


def study(models: int) -> dict:
    """Five datasets of ten thousand images, two files each, under four families, and that many models."""
    splits = ("test", "validation", "pool", "train", "test")
    return {
        "study": f"planned-{models}",
        "models": {f"model-{number:03d}": {"zoo": "vit_p8_base"} for number in range(models)},
        "datasets": {
            f"set-{number}": {
                "source": {"kind": "shapetex", "split": split},
                "samples": 10_000,
                "families": list(FAMILIES),
            }
            for number, split in enumerate(splits)
        },
        "families": {name: {"corruptions": corruptions} for name, corruptions in FAMILIES.items()},
        "images": {"size": 64},
    }


def run() -> Iterator[Comparison]:
    for models, budget in BUDGETS.items():
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(study(models), file)
            file.flush()
            start = time.perf_counter()
            command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "--configfile", file.name]
            subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])
            seconds = time.perf_counter() - start
        yield Comparison.less_is_better(f"dag: dry-run, {models} models", seconds, budget, "s", "the time allowed")
