"""Plans and states as people read them, within 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime

from withstand.explore.garbage import in_bytes
from withstand.gates import without_gate
from withstand.planning.costs import DEVICES
from withstand.planning.estimate import Estimate, Stage
from withstand.planning.status import STATES, Status

WIDTH = 80


def plan(found: Estimate) -> str:
    """An estimate as text."""
    is_gpu = found.device != "cpu"
    header = ["stage", "jobs", "forward", "backward", *(["GPU time"] if is_gpu else []), "core time", "disk"]
    rows = [[name, *_cells(stage, is_gpu)] for name, stage in found.stages.items()]
    rows.append(["total", *_cells(found.total, is_gpu)])
    device = DEVICES[found.device].name
    lines = [*_wrapped(_heading(found)), "", *_table([header, *rows], last=True), ""]
    if found.largest is not None:
        work, seconds = found.largest
        name = f"{work.rule} {', '.join(work.wildcards.values())}"
        lines += _wrapped(f"The largest job is {name}: {duration(seconds)}.")
    done = found.total.done
    if done:
        left = duration(found.left)
        lines += _wrapped(f"{done:,} of the jobs are done; the others take {left} of {'it' if is_gpu else 'a core'}.")
    told = [f"{name} {duration(seconds)}" for name, seconds in found.others.items()]
    lines += _wrapped(f"For comparison, models alone would run on another device for: {', '.join(told)}.")
    lines += _wrapped(_reason(found, device))
    if found.measured:
        lines += _wrapped(f"Passes of {found.measured} models are as a rehearsal measured them here.")
    lines += _wrapped(_disk(found))
    for model, reason in without_gate(found.study).items():
        lines += _wrapped(f"No gate for {model}: {reason}")
    for key, reason in found.failed.items():
        lines += _wrapped(f"Not counted: {key}: {reason}")
    return "\n".join(lines)


def _heading(found: Estimate) -> str:
    study = found.study
    parts = [f"{len(study.models)} models", f"{len(study.evaluated())} datasets"]
    parts += [f"at most {study.limit:,} samples of each"] if study.limit else []
    parts.append(f"predictions in {' and '.join(sorted({study.computing(model).precision for model in study.models}))}")
    device = "CPU cores" if found.device == "cpu" else f"one {DEVICES[found.device].name}"
    return f"{study.study}: {', '.join(parts)}, on {device}"


def _cells(stage: Stage, is_gpu: bool) -> list[str]:
    device = [_time(stage.device)] if is_gpu else []
    return [
        f"{stage.jobs:,}",
        number(stage.forward),
        number(stage.backward),
        *device,
        _time(stage.cores),
        _size(stage.size),
    ]


def _time(seconds: float) -> str:
    return duration(seconds).replace("hours", "h") if seconds else "-"


def _size(size: float) -> str:
    return in_bytes(size) if size >= 1e5 else "-"


def _reason(found: Estimate, device: str) -> str:
    if found.rates.sources:
        several = ", ".join(f"{count} jobs in {place}" for place, count in found.rates.sources.items())
        return f"Times are those that jobs took on this machine ({several}), as far as rules are the same."
    return (
        f"Times are estimates from the peak and the memory of one {device}, which no past job on this machine confirms."
        " Curves of lesions that end at chance, and attacks that succeed early, take less."
    )


def _disk(found: Estimate) -> str:
    space = found.space
    told = f"Of that disk space {in_bytes(found.there)} are taken already; {in_bytes(found.free)} are free."
    if found.short:
        told = f"THE DISK IS TOO SMALL by {in_bytes(found.short)}. {told}"
    if space.streamed and (found.short or space.streamed > space.total / 10):
        which = "it" if len(space.families) == 1 else "them"
        told += (
            f" {in_bytes(space.streamed)} are corrupted images ({', '.join(space.families)}): with `materialize: false`"
            f" every model would make {which} anew, and none would be stored."
        )
        told += " That would be enough." if found.short and space.streamed > found.short else ""
    return told


def plan_data(found: Estimate) -> Mapping:
    """An estimate as JSON has it."""
    return {
        "study": found.study.study,
        "device": found.device,
        "inference": found.study.inference.model_dump(),
        "stages": {name: _stage_data(stage) for name, stage in found.stages.items()},
        "total": _stage_data(found.total),
        "largest": None
        if found.largest is None
        else {
            "rule": found.largest[0].rule,
            "wildcards": dict(found.largest[0].wildcards),
            "hours": found.largest[1] / 3600,
        },
        "hours_left": found.left / 3600,
        "other_devices": {name: seconds / 3600 for name, seconds in found.others.items()},
        "calibrated_by": dict(found.rates.sources),
        "disk": {
            "needed": round(found.space.total),
            "there": found.there,
            "free": found.free,
            "short": round(found.short),
            "streaming_saves": round(found.space.streamed),
        },
        "not_counted": found.failed,
        "without_gate": without_gate(found.study),
    }


def _stage_data(stage: Stage) -> Mapping:
    return {
        **{"jobs": stage.jobs, "done": stage.done, "forward": stage.forward, "backward": stage.backward},
        **{"gpu_hours": stage.device / 3600, "core_hours": stage.cores / 3600, "bytes": round(stage.size)},
    }


def status(found: Status) -> str:
    """How far a study is, as text."""
    if found.lock is None:
        lines = [f"{found.study}: no run is under way"]
    else:
        since = datetime.fromtimestamp(found.lock.since).strftime("%Y-%m-%d %H:%M")
        lines = _wrapped(f"{found.study}: a run is under way since {since} ({found.lock.holder})")
    groups = found.by_stage()
    rows = [[stage, *_states(found.count(several))] for stage, several in groups.items()]
    rows.append(["total", *_states(found.count(found.found))])
    lines += ["", *_table([["stage", *STATES], *rows], last=True), ""]
    lines += [*_models(found), ""]
    failed = [each for each in found.found if each.state == "failed"]
    for each in failed:
        lines += _wrapped(f"Failed: {each.job.name}")
        lines += [f"  {each.job.log}", *_wrapped(each.told, "    ")]
    running = [each for each in found.found if each.state == "running"]
    for each in running:
        lines += _wrapped(f"Running: {each.job.name}{': ' if each.told else ''}{each.told}")
    for path, reason in found.damaged.items():
        lines += _wrapped(f"Damaged: {path} ({reason}); the next run makes it again")
    for what, reason in found.failed_models:
        lines += _wrapped(f"Left out, as tables tell: {what}: {reason}")
    return "\n".join([*lines, *_wrapped(_left(found, len(failed)))])


def _left(found: Status, failed: int) -> str:
    numbers = found.count(found.found)
    open_jobs = len(found.found) - numbers["done"]
    if not open_jobs:
        return "Nothing to be done."
    outdated = sum(each.state == "missing" and all(p.exists() for p in each.job.outputs) for each in found.found)
    told = f"{open_jobs:,} jobs are not done"
    told += f", of which {outdated:,} are there but out of date" if outdated else ""
    if found.seconds is None:
        return f"{told}; how long they take is told once models have run."
    several = f", {found.at_once:.1f} at a time" if found.lock else " one after the other"
    told += f": about {duration(found.seconds / found.at_once)}{several}, downloads apart."
    return told + (" The next run repeats what failed." if failed else "")


def _states(numbers: Mapping[str, int]) -> list[str]:
    return [f"{numbers[state]:,}" if numbers[state] else "-" for state in STATES]


def _models(found: Status) -> list[str]:
    """Jobs that are done of each model, by stage: a column for each stage that some model has jobs of."""
    groups = found.by_model()
    columns = [stage for stage in found.by_stage() if any(stage in by_stage for by_stage in groups.values())]
    rows = []
    for model, by_stage in groups.items():
        cells = []
        for stage in columns:
            numbers = found.count(by_stage.get(stage, ()))
            marks = [
                f"{numbers['running']} run" * bool(numbers["running"]),
                f"{numbers['failed']} failed" * bool(numbers["failed"]),
            ]
            cells.append(" ".join(filter(None, [f"{numbers['done']}/{sum(numbers.values())}", *marks])))
        rows.append([model if len(model) < 24 else f"{model[:20]}...", *cells])
    return _table([["model", *columns], *rows])


def _table(rows: Sequence[Sequence[str]], *, last: bool = False) -> list[str]:
    """Aligned columns, the first to the left; with a line before the last row if there is a total."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    gap = 2 if sum(widths) + 2 * len(widths) <= WIDTH else 1
    lines = [
        (" " * gap).join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]] if last else [lines[0], rule, *lines[1:]]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)


def number(count: float) -> str:
    """A number of passes: 62.1 M."""
    if count < 10_000:
        return f"{count:,.0f}" if count else "-"
    return f"{count / 1e3:,.0f} k" if count < 1e6 else f"{count / 1e6:,.1f} M"


def duration(seconds: float) -> str:
    """A time as people say it."""
    for unit, length in (("hours", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            value = seconds / length
            return f"{value:,.1f} {unit}" if value < 20 else f"{value:,.0f} {unit}"
    return f"{seconds:.0f} s"
