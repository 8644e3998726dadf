"""The cost of a study beforehand: jobs, passes, hours and bytes, stage by stage."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from withstand.config import ConfigError, Study, load_study
from withstand.errors import WithstandError
from withstand.planning import anatomy, costs, counts, disk
from withstand.planning import rates as rates_at_hand
from withstand.planning.anatomy import Facts
from withstand.planning.counts import Work
from withstand.planning.jobs import Job, stages

PAST_STUDIES = 5
"""Finished studies, the latest, whose jobs calibrate an estimate."""


@dataclass
class Stage:
    """What the jobs of a file of rules take.

    Attributes:
        jobs, done: all of them, and those that are done.
        device, cores: seconds of the device that runs models, and of cores beside it.
        size: bytes.
    """

    jobs: int = 0
    done: int = 0
    forward: int = 0
    backward: int = 0
    device: float = 0.0
    cores: float = 0.0
    size: float = 0.0


@dataclass
class Estimate:
    """What a study takes on a device.

    Attributes:
        largest: the job that takes longest, and its seconds.
        left: seconds of the device, or of cores on a CPU, that jobs which are not done take.
        others: seconds that models run on other devices, by name, without past jobs.
        failed: why models are not counted.
        measured: models whose passes a rehearsal has measured on the device.
        there, free: bytes of the study's files that are there, and that are free beside them.
    """

    study: Study
    device: str
    rates: costs.Rates
    stages: dict[str, Stage] = field(default_factory=dict)
    largest: tuple[Work, float] | None = None
    left: float = 0.0
    others: dict[str, float] = field(default_factory=dict)
    space: disk.Space | None = None
    failed: dict[str, str] = field(default_factory=dict)
    measured: int = 0
    there: int = 0
    free: int = 0

    @property
    def total(self) -> Stage:
        parts = self.stages.values()
        return Stage(**{name: sum(getattr(part, name) for part in parts) for name in Stage.__dataclass_fields__})

    @property
    def short(self) -> float:
        """Bytes that the disk lacks for what is not there yet."""
        return max(0.0, self.space.total - self.there - self.free)


def estimate(
    study: Study,
    jobs: Sequence[Job],
    device: str,
    *,
    calibrated: bool = True,
    advance=lambda name: None,
) -> Estimate:
    """What a study takes.

    Args:
        jobs: those of the study, as Snakemake plans them.
        device: of ``costs.DEVICES``.
        calibrated: whether past jobs on this machine are asked how long they took.
        advance: told the key of each model before it is looked into.
    """
    models = anatomy.models_of(study, advance)
    works = {each.key: each for each in counts.work(study, models)}
    on = rates_at_hand.measured_on(costs.DEVICES[device])
    rates = calibration(on) if calibrated else costs.Rates()
    found = Estimate(study, device, rates)
    seen = [(facts.flops, facts.values) for facts in models.values()]
    found.measured = sum((*each, precision) in on.measured for each in seen for precision in _precisions(study))
    found.failed = {key: facts.failure for key, facts in models.items() if facts.failure}
    stage_of = stages()
    found.stages = {stage: Stage() for stage in dict.fromkeys(stage_of.values())}
    for job in jobs:
        stage = found.stages[stage_of[job.rule]]
        work = works.get(job.key, Work(job.rule, job.wildcards))
        took = costs.Cost() if job.rule in costs.FETCHING else costs.cost(work, models, on, rates)
        stage.jobs += 1
        stage.done += not job.pending
        stage.forward += work.forward
        stage.backward += work.backward
        stage.device += took.device
        stage.cores += took.cores
        seconds = took.device + took.cores
        if found.largest is None or seconds > found.largest[1]:
            found.largest = (work, seconds)
        if job.pending:
            found.left += took.cores if on.told == "cpu" else took.device
    found.space = disk.space(study, models)
    for rule, size in found.space.by_rule.items():
        found.stages[stage_of[rule]].size += size
    found.stages = {name: stage for name, stage in found.stages.items() if stage.jobs}
    found.there, found.free = disk.there(jobs), disk.free()
    found.others = others(works.values(), models, device)
    return found


def _precisions(study: Study) -> set[str]:
    return {study.computing(model).precision for model in study.models}


def others(works, models: Mapping[str, Facts], device: str) -> dict[str, float]:
    """Seconds that models would run on each of the other devices."""
    found = {}
    for name, other in costs.DEVICES.items():
        if name != device:
            several = [costs.cost(each, models, other) for each in works if each.rule in costs.PASSING]
            found[name] = sum(took.device + took.cores for took in several)
    return found


def calibration(device: costs.Device, results: Path = Path("results")) -> costs.Rates:
    """What past jobs in a folder of results say of a device."""
    runs = sorted(results.glob("*/run.json"), key=lambda path: -path.stat().st_mtime)
    jobs, models = [], {}
    for path in runs[:PAST_STUDIES]:
        try:
            study = load_study(json.loads(path.read_text(encoding="utf-8"))["config"])
        except (OSError, ValueError, KeyError, ConfigError):  # of images that are gone, or of another version
            continue
        place = str(path.parent)
        try:
            models[place] = anatomy.models_of(study)
            jobs += costs.measured(path.parent, counts.work(study, models[place]), device)
        except WithstandError as error:
            print(f"{place} does not count: {error}", file=sys.stderr)
    if not any(job.work.rule in costs.PASSING for job in jobs):
        return costs.Rates()
    return costs.calibrate(jobs, models, device)
