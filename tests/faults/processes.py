"""Processes of a run, as the kernel sees them."""

from __future__ import annotations

import psutil


def steps(run: psutil.Process | int) -> list[tuple[psutil.Process, str]]:
    """The steps that a run is carrying out, each with its name."""
    found = []
    for process in descendants(run):
        try:
            program, *arguments = process.cmdline()[1:]
        except (psutil.Error, ValueError):
            continue
        if program.endswith("/withstand") and arguments:
            found.append((process, arguments[0]))
    return found


def descendants(run: psutil.Process | int) -> list[psutil.Process]:
    """All processes that a run has started, directly or not, and that are still there."""
    try:
        return psutil.Process(run).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def living(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Which of some processes do not end within a time."""
    return psutil.wait_procs(processes, timeout=seconds)[1]
