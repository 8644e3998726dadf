"""From the work of jobs to seconds on a device, calibrated by what past jobs took.

A pass takes the longer of nothing: its products at the device's peak, and, besides, the traffic of all that its modules
write with the memory. With no other number, this gives timm's own inference benchmark (RTX 4090, mixed precision) for
twelve ViTs and ResNets from 8 to 1,680 GFLOPs within 26%, 18% on average, where products alone are off by a factor of
five. On an H200, ViT-B/16 takes 1.1 to 1.4 times as long as it gives (float32, TF32, bfloat16), ResNet-50 1.4 to 1.9
times (docs/benchmarks.md).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from withstand import devices
from withstand.computing import Precision
from withstand.errors import WithstandError
from withstand.planning.anatomy import Facts
from withstand.planning.counts import Work


@dataclass(frozen=True)
class Device:
    """What passes run on.

    Attributes:
        name: the device as people call it.
        flops: peak by precision, of dense products: makers' data sheets.
        bandwidth: of its memory, in bytes a second.
        told: what names of such devices contain, as torch gives them.
        measured: seconds of forward passes measured on it, by FLOPs, values and precision (see ``planning.rates``).
    """

    name: str
    flops: Mapping[str, float]
    bandwidth: float
    told: str
    measured: Mapping[tuple[int, int, str], float] = field(default_factory=dict)

    def seconds(self, facts: Facts, precision: Precision) -> float:
        """Seconds of a forward pass of one image, in batches that fill the device."""
        known = self.measured.get((facts.flops, facts.values, precision))
        if known is not None:
            return known
        share = FLOAT32_SHARE if precision == "float32" else 1.0
        moved = facts.values * WRITTEN_AND_READ * (2 if precision == "bfloat16" else 4)
        return facts.flops / (self.flops[precision] * share) + moved / self.bandwidth


FLOAT32_SHARE = 0.8
WRITTEN_AND_READ = 2
"""Times that each number passes through memory."""

DEVICES = {
    "h100": Device("NVIDIA H100 (SXM)", {"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12}, 3.35e12, "H100"),
    "h200": Device("NVIDIA H200", {"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12}, 4.8e12, "H200"),
    "a100": Device("NVIDIA A100 (80 GB)", {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12}, 2.04e12, "A100"),
    "rtx4090": Device("RTX 4090", {"float32": 82.6e12, "tf32": 82.6e12, "bfloat16": 165.2e12}, 1.008e12, "RTX 4090"),
    "cpu": Device("CPU core", {"float32": 90e9, "tf32": 90e9, "bfloat16": 90e9}, 30e9, "cpu"),
}
"""The last one is one core of a server of 2020 with AVX-512: zoo models at 64 px, one thread (docs/benchmarks.md)."""

BACKWARD = 2.0
"""A backward pass in forward passes: 1.5 to 2.8 in PGD (docs/benchmarks.md), two in theory where weights learn."""

START, LIGHT = 7.0, 2.0
"""Seconds until torch and a model are there; those of a job without torch."""

DECODED, DRAWN, SUMMARISED = 400.0, 2500.0, 600e3
"""Photographs that a core decodes and resizes in a second, images that it generates, rows that it summarises."""

MADE_EACH, MADE_PIXEL = 0.2e-3, 32e-9
"""Seconds of a core to corrupt an image, and for each of its pixels: 2 ms at 224 px."""

READERS = 8
"""Threads that decode for one job on a GPU (``dag.READING_THREADS``)."""

PASSING = {
    *("predict", "predict_clean", "predict_from_source", "predict_streamed", "predict_gate", "find_missed"),
    *("attack_model", "attack_spatial", "transfer_perturbations", "measure_internals", "train_model"),
}
"""Rules of jobs that run models."""

FETCHING = {"download", "fetch_weights"}
"""Rules of jobs whose time is the network's."""


@dataclass(frozen=True)
class Rates:
    """What past jobs say of a machine.

    Attributes:
        start: seconds until a job that runs a model does.
        factors: by rule, how many times the estimate jobs take; ``""`` is that of rules without past jobs.
        sources: where the jobs lie, with their number; none where nothing is known.
    """

    start: float = START
    factors: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)

    def factor(self, rule: str) -> float:
        return self.factors.get(rule, self.factors.get("" if rule in PASSING else "host", 1.0))


@dataclass(frozen=True)
class Cost:
    """What a job takes: seconds of the device that runs models, and seconds of cores beside it."""

    device: float = 0.0
    cores: float = 0.0


def cost(work: Work, models: Mapping[str, Facts], device: Device, rates: Rates = Rates()) -> Cost:
    """What a job takes on a device."""
    is_gpu = device.told != "cpu"
    if work.rule not in PASSING:
        return Cost(cores=rates.factor(work.rule) * (LIGHT + reading(work)))
    bare = passes(work, models, device)
    read = reading(work)
    took = max(bare, read / READERS) if is_gpu else bare + read
    took = rates.factor(work.rule) * (rates.start + took)
    return Cost(device=took, cores=0.0) if is_gpu else Cost(cores=took)


def passes(work: Work, models: Mapping[str, Facts], device: Device) -> float:
    """Seconds of a job's forward and backward passes."""
    facts = models.get(work.model) if work.model else None
    if facts is None or facts.failure:
        return 0.0
    return (work.forward - work.spared + BACKWARD * work.backward) * device.seconds(facts, work.precision)


def reading(work: Work) -> float:
    """Seconds of one core to read, generate, corrupt or summarise what a job does."""
    made = work.made * (MADE_EACH + MADE_PIXEL * work.size**2)
    return work.decoded / DECODED + work.drawn / DRAWN + made + work.rows / SUMMARISED


def device_at_hand() -> str:
    """The name of the device that jobs would run on here.

    Raises:
        WithstandError: if there is a GPU that torch cannot use, or that nothing is known about.
    """
    import torch

    if found := devices.problem(devices.asked()):
        raise devices.DeviceError(found)
    if devices.asked() == "cpu" or not torch.cuda.is_available():
        return "cpu"
    name = torch.cuda.get_device_name()
    known = [key for key, device in DEVICES.items() if device.told in name]
    if not known:
        raise WithstandError(f"nothing is known here of {name}: name one that is like it, --gpu {'|'.join(DEVICES)}")
    return known[0]


@dataclass(frozen=True)
class Measured:
    """A past job: what it was to do, what it took, and under which results it lies."""

    work: Work
    seconds: float
    place: str


def measured(results: Path, works: Iterable[Work], device: Device) -> list[Measured]:
    """The past jobs of a study, of those that are given; where models ran, only those on the device.

    Args:
        results: the study's folder.
    """
    found = []
    for each in works:
        path = results / "benchmarks" / each.rule / f"{'.'.join(each.wildcards.values())}.jsonl"
        took = seconds_of(path)
        if took is None or (each.rule in PASSING and not _ran_on(results, each, device)):
            continue
        found.append(Measured(each, took, str(results)))
    return found


def seconds_of(benchmark: Path) -> float | None:
    """What a job took, by its benchmark; None where there is none."""
    try:
        lines = benchmark.read_text(encoding="utf-8").splitlines()
        return sum(float(json.loads(line)["s"]) for line in lines) or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ran_on(results: Path, each: Work, device: Device) -> bool:
    """Whether a model ran on a device, as its predictions say; those of a reference model do not say it."""
    from withstand.parquet import ParquetFileError
    from withstand.predictions import read_facts

    model = each.wildcards.get("model", "*")
    for path in sorted(results.glob(f"predictions/{model}/*/*.parquet")):
        try:
            return device.told in read_facts(path).get("device", "cpu")
        except ParquetFileError:
            continue
    return False


def calibrate(jobs: Sequence[Measured], models: Mapping[str, Mapping[str, Facts]], device: Device) -> Rates:
    """What past jobs say: first the start and the speed of all that run models, then each rule's own factor.

    Args:
        models: the facts of models by the place of the jobs.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for job in jobs:
        bare = passes(job.work, models[job.place], device)
        read = reading(job.work)
        if job.work.rule not in PASSING:
            estimate = LIGHT + read
        elif device.told == "cpu":
            estimate = bare + read
        else:
            estimate = max(bare, read / READERS)
        points.setdefault(job.work.rule, []).append((estimate, job.seconds))
    running = [point for rule, several in points.items() if rule in PASSING for point in several]
    start, speed = _line(running)
    factors = {"": speed}
    for rule, several in points.items():
        known = [(start / speed + x if rule in PASSING else x, y) for x, y in several]
        factors[rule] = statistics.median(y / x for x, y in known if x > 0)
    host = [y / x for rule, several in points.items() if rule not in PASSING for x, y in several if x > 0]
    if host:
        factors["host"] = statistics.median(host)
    places = [job.place for job in jobs]
    return Rates(start / speed, factors, {place: places.count(place) for place in dict.fromkeys(places)})


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Start and slope of the line through points (estimate, seconds), which errs least as a share of the seconds."""
    if len(points) < 2:
        return START, statistics.median([y / (START + x) for x, y in points]) if points else 1.0
    weights = [1 / y**2 for _, y in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    spread = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    together = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
    slope = together / spread if spread else 0.0
    start = mean_y - slope * mean_x
    if slope <= 0 or start < 0:  # noise: keep the usual start
        ratios = [y / (START + x) for x, y in points]
        return START * statistics.median(ratios), statistics.median(ratios)
    return start, slope
