"""Planning large studies by dry-run, and looking at a finished one, against the time allowed for it."""

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

import h5py
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
import yaml

from benchmarks.comparison import Comparison

PROJECT = Path(__file__).parents[1]
ALLOWED = "the time allowed"

BUDGETS = {30: 30.0, 300: 180.0}
"""Seconds allowed, by number of models."""

FINISHED, STATUS = 30.0, 5.0
"""Seconds allowed to say that 30 models are finished, and how far they are."""

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


def whole_study(models: int) -> dict:
    """The same, with three attacks, rotations and translations, and every experiment on the inside of models."""
    attacks = {"fgsm": {"kind": "fgsm"}, "pgd": {"kind": "pgd"}, "pgd_4": {"kind": "pgd", "eps": "4/255"}}
    kinds = ("similarity", "lesions", "attention_limit", "attention_distance")
    return {
        **study(models),
        "attacks": {"dataset": "set-0", "perturbations": attacks, "spatial": {}},
        "internals": {"dataset": "set-0", "families": list(FAMILIES)} | {kind: {} for kind in kinds},
    }


def run() -> Iterator[Comparison]:
    for models, budget in BUDGETS.items():
        for what, planned in (("", study(models)), (", attacks and internals", whole_study(models))):
            with tempfile.TemporaryDirectory() as folder:
                config = _written(planned, Path(folder))
                seconds, _ = _timed(["-m", "snakemake", "--dry-run", "--quiet", "--configfile", str(config)], PROJECT)
            name = f"dag: dry-run, {models} models{what}"
            yield Comparison.less_is_better(name, seconds, budget, "s", ALLOWED)
    with tempfile.TemporaryDirectory() as folder:
        project = _copy(Path(folder))
        config = _finish(whole_study(30), project)
        seconds, told = _timed(["-m", "snakemake", "--cores", "1", "--configfile", str(config)], project)
        if "Nothing to be done" not in told:
            raise RuntimeError(f"the study is not finished:\n{told[-3000:]}")
        yield Comparison.less_is_better("dag: 30 finished models", seconds, FINISHED, "s", ALLOWED)
        seconds, _ = _timed(["-m", "withstand.cli", "status", "--configfile", str(config)], project)
        yield Comparison.less_is_better("dag: status of 30 models", seconds, STATUS, "s", ALLOWED)


def _timed(arguments: list[str], folder: Path) -> tuple[float, str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "workflow")}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return seconds, done.stdout + done.stderr


def _copy(folder: Path) -> Path:
    for part in ("Snakefile", "config.yaml"):
        shutil.copy(PROJECT / part, folder)
    for part in ("rules", "profiles", "envs", "workflow"):
        shutil.copytree(PROJECT / part, folder / part)
    return folder


def _written(planned: dict, folder: Path) -> Path:
    path = folder / f"{planned['study']}.yaml"
    path.write_text(yaml.safe_dump(planned), encoding="utf-8")
    return path


def _whole_files(folder: Path) -> dict[str, bytes]:
    """The smallest files that no run takes for damaged, by suffix."""
    places = {suffix: folder / f"whole{suffix}" for suffix in (".parquet", ".h5", ".safetensors", ".json")}
    pq.write_table(pa.table({}), places[".parquet"])
    h5py.File(places[".h5"], "w").close()
    safetensors.numpy.save_file({}, places[".safetensors"])
    places[".json"].write_text('{"model": "m", "failure": "of a benchmark"}', encoding="utf-8")
    return {suffix: path.read_bytes() for suffix, path in places.items()}


def _finish(planned: dict, project: Path) -> Path:
    """Let a study look as after a run: whole files with next to nothing in them, and what Snakemake remembers of their
    jobs."""
    config = _written(planned, project)
    _, listed = _timed(["-m", "withstand.planning.jobs", "--summary", "--configfile", str(config)], project)
    whole = _whole_files(project)
    for line in filter(lambda line: line.startswith("{"), listed.splitlines()):
        for output in json.loads(line)["outputs"]:
            path = project / output
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(whole.get(path.suffix, b"x"))
    # what tells of the outcome in the end cannot read such tables, so the run itself ends with an error
    command = [sys.executable, "-m", "snakemake", "--touch", "--forceall", "--cores", "1", "--configfile", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(project / "workflow")}
    subprocess.run(command, cwd=project, env=environment, check=False, capture_output=True)
    return config
