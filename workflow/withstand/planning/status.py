"""How far a run is: what is done, what runs, what failed with which log, and how long the rest takes."""

from __future__ import annotations

import fcntl
import os
import re
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from withstand.config import Study
from withstand.integrity import damage
from withstand.planning import anatomy, costs, counts
from withstand.planning.jobs import Job, stages

STATES = ("done", "running", "failed", "missing")

SETTLING = 15.0
"""Seconds between the end of a step and that of its job."""

_ERROR = re.compile(
    r"(Error\b|Usage:|Aborted|[\w.]*(Error|Exception|Interrupt|Exit)\b|the run has ended|Killed|slurmstepd)"
)


@dataclass(frozen=True)
class Found:
    """How a job is.

    Attributes:
        state: of ``STATES``; missing is also what is there and out of date.
        told: the last line of its log, where it failed or runs.
    """

    job: Job
    state: str
    told: str = ""


@dataclass(frozen=True)
class Lock:
    """A run that is under way: who holds the lock of its study, and since when, in seconds."""

    holder: str
    since: float


@dataclass(frozen=True)
class Status:
    """A study's.

    Attributes:
        lock: the run under way; None where there is none.
        failed_models: what failed of models, and why; the jobs of such models are done.
        seconds: how long what is not done would take one job after the other; None where nothing can be told yet.
        at_once: how many jobs the run under way does at a time.
        damaged: files that are not whole, and why; their jobs are not done.
    """

    study: str
    lock: Lock | None
    found: Sequence[Found]
    failed_models: Sequence[tuple[str, str]]
    seconds: float | None
    at_once: float
    damaged: Mapping[Path, str]

    def count(self, found: Iterable[Found]) -> dict[str, int]:
        """Jobs by state."""
        states = [each.state for each in found]
        return {state: states.count(state) for state in STATES}

    def by_stage(self) -> dict[str, list[Found]]:
        """The jobs of each stage, in the order of the flow."""
        stage_of, groups = stages(), {}
        for each in self.found:
            groups.setdefault(stage_of.get(each.job.rule, "other"), []).append(each)
        return groups

    def by_model(self) -> dict[str, dict[str, list[Found]]]:
        """The jobs of each model by stage."""
        groups: dict[str, dict[str, list[Found]]] = {}
        for stage, several in self.by_stage().items():
            for each in several:
                if "model" in each.job.wildcards:
                    groups.setdefault(each.job.wildcards["model"], {}).setdefault(stage, []).append(each)
        return dict(sorted(groups.items()))


def status(study: Study, jobs: Sequence[Job]) -> Status:
    """How far a study is.

    Args:
        jobs: those of the study, as Snakemake plans them.
    """
    folder = Path("results") / study.study
    lock = find_lock(folder / ".lock")
    written = logs_being_written() if lock else set()
    found = [judge(job, lock, written) for job in jobs]
    open_jobs = [each for each in found if each.state != "done"]
    seconds = _left(study, folder, found) if open_jobs else 0.0
    reasons = {path: damage(path) for job in jobs for path in job.outputs}
    damaged = {path: reason for path, reason in reasons.items() if reason}
    return Status(study.study, lock, found, failed_models(study, folder), seconds, _at_once(found, lock), damaged)


def find_lock(path: Path) -> Lock | None:
    """The run that holds a lock file."""
    try:
        file = path.open(encoding="utf-8")
    except OSError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for a moment, which lets others look, too
            return None
        except OSError:
            holder = file.read().strip()
    since = re.search(r"since (\S+ \S+)$", holder)
    began = path.stat().st_mtime
    with suppress(ValueError, TypeError):
        began = datetime.strptime(since[1], "%Y-%m-%d %H:%M:%S").timestamp() if since else began
    return Lock(holder or "unknown", began)


def logs_being_written() -> set[Path]:
    """The files that processes of this machine write their output to."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/fd/1"):
        with suppress(OSError):
            found.add(process.readlink())
    return found


def judge(job: Job, lock: Lock | None, written: set[Path]) -> Found:
    """How a job is, by what lies there.

    A job that is to be run, whose log is younger than what it took the last time, has begun. It runs if a process here
    writes the log, or, on another machine, if the log is of the run under way and does not end with an error.
    """
    if not job.pending:
        return Found(job, "done")
    begun = _time(job.log)
    ended = _time(job.benchmark)
    if begun is None or (ended is not None and ended >= begun):
        return Found(job, "missing")
    told = last_line(job.log)
    if job.log.resolve() in written:
        return Found(job, "running", told)
    is_error = bool(_ERROR.match(told))
    if lock is not None and begun < lock.since - 1:  # of an earlier run; its turn comes
        return Found(job, "missing")
    if lock is not None and not is_error and written_elsewhere(lock):
        return Found(job, "running", told)
    if lock is not None and not is_error and time.time() - begun < SETTLING:
        return Found(job, "running", told)
    if not is_error and job.benchmark is None:
        return Found(job, "missing")
    return Found(job, "failed", told if is_error else f"{told} (ended without an error: killed?)".strip())


def written_elsewhere(lock: Lock) -> bool:
    """Whether the jobs of a run write their logs on other machines, as on a cluster: its process has no child here, or
    is itself elsewhere."""
    process = re.match(r"process (\d+) on (\S+)", lock.holder)
    if process is None or process[2] != os.uname().nodename:
        return True
    with suppress(OSError):
        tasks = Path(f"/proc/{process[1]}/task").glob("*/children")
        return not any(task.read_text().strip() for task in tasks)
    return True


def _time(path: Path | None) -> float | None:
    try:
        return None if path is None else path.stat().st_mtime
    except OSError:
        return None


def last_line(log: Path) -> str:
    """The last line of a log that says something; of a traceback, its last line."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def failed_models(study: Study, folder: Path) -> list[tuple[str, str]]:
    """What failed of which model, and why: from the cards, and from the table of failures where it is there."""
    found = {
        f"models.{name}": (name, card["failure"])
        for name, card in anatomy.read_cards(study).items()
        if card.get("failure")
    }
    table = folder / "tables" / "failures.parquet"
    if table.exists():
        from withstand.parquet import ParquetFileError, read_table

        try:
            lines = read_table(table, ["model", "dataset", "family", "reason"]).to_pylist()
        except ParquetFileError:  # the run that makes it anew will tell
            lines = []
        for line in lines:
            if f"models.{line['model']}" not in found and line["model"] in study.models:
                parts = [str(line[name]) for name in ("model", "dataset", "family") if line.get(name)]
                found.setdefault(" ".join(parts), (" ".join(parts), line["reason"]))
    return list(found.values())


def _left(study: Study, folder: Path, found: Sequence[Found]) -> float | None:
    """Seconds of the jobs that are not done, by what jobs of this study took; what runs counts by half."""
    cards = anatomy.read_cards(study)
    models = {f"models.{name}": anatomy.of_card(card) for name, card in cards.items()}
    missing = [key for key in (*study.entries(), *(f"recipes.{name}" for name in study.recipes)) if key not in models]
    known = [facts for facts in models.values() if not facts.failure]
    if not known and missing:
        return None
    # what has no card yet is taken for the median of those that have one
    typical = sorted(known, key=lambda facts: facts.flops)[len(known) // 2] if known else anatomy.Facts()
    models |= dict.fromkeys(missing, typical)
    works = {each.key: each for each in counts.work(study, models)}
    device, past = _device(folder, works.values())
    if not any(each.work.rule in costs.PASSING for each in past):
        return None
    rates = costs.calibrate(past, {str(folder): models}, device)
    usual: dict[str, list[float]] = {}
    for each in found:
        took = costs.seconds_of(each.job.benchmark) if each.job.benchmark else None
        if took is not None:
            usual.setdefault(each.job.rule, []).append(took)
    total = 0.0
    for each in found:
        rule = each.job.rule
        if each.state == "done" or rule in costs.FETCHING:
            continue
        if each.job.key in works:
            told = costs.cost(works[each.job.key], models, device, rates)
            seconds = told.device + told.cores
        else:
            seconds = statistics.mean(usual.get(rule, [costs.LIGHT * rates.factor(rule)]))
        total += seconds / (2 if each.state == "running" else 1)
    return total


def _device(folder: Path, works: Iterable[counts.Work]) -> tuple[costs.Device, list[costs.Measured]]:
    """The device that most past jobs ran on, and these jobs."""
    works = list(works)
    several = [(device, costs.measured(folder, works, device)) for device in costs.DEVICES.values()]
    return max(several, key=lambda pair: len(pair[1]))


def _at_once(found: Sequence[Found], lock: Lock | None) -> float:
    """How many jobs a run has done at a time so far."""
    if lock is None:
        return 1.0
    ended = [each.job.benchmark for each in found if (_time(each.job.benchmark) or 0) > lock.since]
    busy = sum(costs.seconds_of(path) or 0.0 for path in ended)
    running = sum(each.state == "running" for each in found)
    return max(1.0, busy / max(time.time() - lock.since, 1.0), running)


def as_data(found: Status) -> Mapping:
    """The status as JSON has it."""
    return {
        "study": found.study,
        "run": None if found.lock is None else {"holder": found.lock.holder, "since": found.lock.since},
        "stages": {stage: found.count(several) for stage, several in found.by_stage().items()},
        "models": {
            model: {stage: found.count(several) for stage, several in by_stage.items()}
            for model, by_stage in found.by_model().items()
        },
        "running": [_told(each) for each in found.found if each.state == "running"],
        "failed": [_told(each) for each in found.found if each.state == "failed"],
        "damaged": {str(path): reason for path, reason in found.damaged.items()},
        "failed_models": [{"what": what, "reason": reason} for what, reason in found.failed_models],
        "seconds_left": found.seconds if found.seconds is None else round(found.seconds, 1),
        "jobs_at_once": round(found.at_once, 2),
    }


def _told(each: Found) -> Mapping:
    job = each.job
    return {"rule": job.rule, "wildcards": dict(job.wildcards), "log": job.log and str(job.log), "told": each.told}
