"""The demo as a user meets it, after installation, against the time and memory allowed for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.comparison import Comparison

PROJECT = Path(__file__).parents[1]
ALLOWED = "the time allowed"


def run() -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("Snakefile", "config.yaml"):
            shutil.copy(PROJECT / part, folder)
        for part in ("rules", "profiles", "envs", "workflow"):
            shutil.copytree(PROJECT / part, folder / part)
        yield _timed("demo: first run", folder, ["snakemake", "--cores", "2"], 285)
        yield _timed("demo: second run", folder, ["snakemake", "--cores", "2"], 5)
        yield _timed("demo: dry-run", folder, ["snakemake", "--dry-run"], 5)
        yield _timed("demo: withstand --help", folder, ["withstand", "--help"], 0.5)
        largest = max(_memory(path) for path in folder.glob("results/demo/benchmarks/*/*.jsonl"))
        yield Comparison.less_is_better("demo: largest process", largest, 2000, "MB", "the memory allowed")


def _timed(name: str, folder: Path, command: list[str], allowed: float) -> Comparison:
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PYTHONPATH": str(folder / "workflow")}
    start = time.perf_counter()
    subprocess.run([scripts / command[0], *command[1:]], cwd=folder, env=environment, check=True, capture_output=True)
    return Comparison.less_is_better(name, time.perf_counter() - start, allowed, "s", ALLOWED)


def _memory(path: Path) -> float:
    lines = path.read_text(encoding="utf-8").splitlines()
    return max(json.loads(line)["max_rss"] for line in lines)
