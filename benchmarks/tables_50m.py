"""From fifty million predictions to all tables made of them, step by step as the workflow does, two at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks.comparison import Comparison
from withstand import predictions
from withstand.corruptions.constants import CORRUPTIONS
from withstand.metrics.corruption_error import ALEXNET

ALLOWED_SECONDS, ALLOWED_MB = 60.0, 4096.0
IMAGES = 50_000
AT_ONCE = 2
OUTPUTS = 1000
BLOCKS = 4
"""Different sets of answers that conditions take in turns: making fifty million would take longer than reading them."""

CATEGORIES = ("noise", "blur", "weather", "digital")


def answers(seed: int) -> dict[str, np.ndarray]:
    """Made-up answers of a model to all images, about 70% of them right."""
    generator = np.random.default_rng(seed)
    top = np.sort(generator.dirichlet(np.full(6, 0.4), size=IMAGES).astype(np.float32))[:, :0:-1]
    right = generator.random(IMAGES) < 0.7
    of_label = np.where(right, top[:, 0], top[:, 1])
    return {
        "loss": -np.log(np.maximum(of_label, 1e-9)),
        "entropy": generator.random(IMAGES, dtype=np.float32),
        "top5_all": generator.integers(OUTPUTS, size=(IMAGES, 5), dtype=np.int32),
        "top5_probability_all": top,
        "label_probability_all": of_label,
        "squared_probability_all": (top**2).sum(1),
        "correct_all": right,
        "label": np.arange(IMAGES, dtype=np.int32) // (IMAGES // OUTPUTS),
    }


def write_model(folder: Path, model: str, blocks: Sequence[dict], ids: Sequence[str]) -> list[Path]:
    """The predictions of a model on clean images and on ImageNet-C: fifteen corruptions at five severities."""
    families = {name: [key for key in ALEXNET if CORRUPTIONS[key].category == name] for name in CATEGORIES}
    conditions = {"clean": [("clean", 0)]}
    conditions |= {name: [(key, level) for key in keys for level in range(1, 6)] for name, keys in families.items()}
    paths = []
    for family, pairs in conditions.items():
        path = folder / f"predictions/{model}/{family}.parquet"
        facts = {"model": model, "dataset": "val", "family": family, "policy": "stored", "versions": {"torch": "2"}}
        with predictions.create(path, predictions.schema(OUTPUTS, ("all",), facts)) as writer:
            for number, (corruption, severity) in enumerate(pairs):
                same = {"corruption": [corruption] * IMAGES, "severity": np.full(IMAGES, severity, dtype=np.int8)}
                writer.write({"sample_id": ids, **blocks[(number + len(model)) % len(blocks)], **same})
        paths.append(path)
    return paths


def peak_mb(command: Sequence[str]) -> float:
    """Run a command; peak memory in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(status, command)
    return usage.ru_maxrss / 1024


def descriptions(models: Iterable[str]) -> str:
    """ViTs and ResNets in turns, of the same pre-training: claims are tested on them."""
    pretraining = {"dataset": "ilsvrc2012", "images": 1_281_167}
    named = zip(models, cycle(("ViT", "ResNet")), strict=False)
    return json.dumps({model: {"family": family, "pretraining": pretraining} for model, family in named})


def tabulate(folder: Path, files: dict[str, list[Path]]) -> tuple[float, float]:
    """All tables of a study: seconds, and the peak memory of two processes at once in MB."""

    def run(*arguments: object) -> float:
        return peak_mb([sys.executable, "-m", "withstand.cli", *map(str, arguments)])

    def summary(kind: str, model: str) -> Path:
        return folder / f"tables/{kind}/{model}.parquet"

    def summarise(model: str) -> float:
        outputs = (f"--{kind}={summary(kind, model)}" for kind in ("accuracy", "calibration", "images"))
        return run("summarise", *files[model], *outputs)

    def joined(kind: str) -> float:
        return run("join-summaries", *(summary(kind, model) for model in files), "-o", folder / f"{kind}.parquet")

    models = folder / "models.parquet"
    images = [summary("images", model) for model in files]
    cards = [folder / f"models/{model}.json" for model in files]
    for card in cards:
        card.parent.mkdir(exist_ok=True)
        card.write_text(json.dumps({"model": card.stem, "failure": None, "parameters": 10**6}))
    start = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        peaks = list(pool.map(summarise, files))
        later = [
            pool.submit(joined, "accuracy"),
            pool.submit(joined, "calibration"),
            pool.submit(run, "tabulate-models", *cards, "--descriptions", descriptions(files), "-o", models),
            pool.submit(run, "tabulate-comparisons", *images, "-o", folder / "comparisons.parquet"),
            pool.submit(run, "tabulate-corruption-error", *images, "--imagenet=val", "-o", folder / "errors.parquet"),
        ]
        peaks += [each.result() for each in later]
        trends = ("--trends", folder / "trends.parquet", "--effective-robustness", folder / "effective.parquet")
        known = ("--accuracy", folder / "accuracy.parquet", "--models", models, "--reference=val", "--dataset=val")
        peaks.append(run("tabulate-trends", *known, *trends))
        tables = (models, folder / "comparisons.parquet", folder / "trends.parquet")
        settings = json.dumps({"unshifted": ["val"]})
        peaks.append(run("tabulate-claims", *tables, "--settings", settings, "-o", folder / "claims.parquet"))
    seconds = time.perf_counter() - start
    return seconds, sum(sorted(peaks)[-AT_ONCE:])


def run() -> Iterator[Comparison]:
    blocks, ids = [answers(seed) for seed in range(BLOCKS)], [f"val_{number:08d}" for number in range(IMAGES)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files: dict[str, list[Path]] = {}
        for models in (4, 13):
            names = [f"{'m' * (1 + number % 3)}{number:02d}" for number in range(models)]
            files |= {model: write_model(folder, model, blocks, ids) for model in names if model not in files}
            seconds, peak = tabulate(folder, files)
            rows = models * IMAGES * 76 / 1e6
            title = f"tables_50m: {rows:.1f} million predictions of {models} models to tables"
            yield Comparison.less_is_better(title, seconds, ALLOWED_SECONDS * rows / 50, "s", "the time allowed")
            yield Comparison.less_is_better(f"{title}, memory", peak, ALLOWED_MB, "MB", "the memory allowed")
