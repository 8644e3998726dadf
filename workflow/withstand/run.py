"""One run of a study: exclusion, recovery after any end, and the record of what ran.

A run holds a file lock on its study, which the system releases however the run ends; Snakemake's own lock would stay
behind after ``kill -9``. Steps end with the run that started them, so nothing writes after it. On another machine,
where they cannot see it, they end when the lock names another run; jobs that wait in a queue until then do nothing.
"""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from withstand import devices
from withstand.compat import replace_planning
from withstand.errors import WithstandError
from withstand.files import try_lock, write_text
from withstand.integrity import find_damaged
from withstand.provenance import versions

RUN_VARIABLE = "WITHSTAND_RUN"
"""Environment variable that tells steps which process runs them: ``host:pid``."""

LOCK_VARIABLE = "WITHSTAND_LOCK"
"""Environment variable that tells them which file that process has locked."""

_GRACE = 5.0
_LOOK_AGAIN = 3.0
_STALE = 24 * 3600.0


class RunningError(WithstandError):
    """Another run of the same study is under way."""


class Run:
    """A run of one study, from the lock to the record."""

    def __init__(self, study: str, results: Path = Path("results")) -> None:
        self.study, self.folder = study, results / study
        self._lock: object | None = None

    def start(self) -> None:
        """Take the lock, sweep up what a killed run left half written, and let steps know who runs them.

        Raises:
            RunningError: if another run holds the lock.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ".lock"
        self._lock = _take_lock(path, self.study)
        self._sweep()
        shared = (self.folder.parent / name for name in ("weights", "downloads"))
        for leftover in (path for folder in shared for path in folder.rglob(".*.tmp")):
            if time.time() - leftover.stat().st_mtime > _STALE:  # other studies may be writing here
                leftover.unlink(missing_ok=True)
        os.environ[RUN_VARIABLE] = f"{socket.gethostname()}:{os.getpid()}"
        os.environ[LOCK_VARIABLE] = str(path.absolute())
        self._started = datetime.now(UTC)

    def _sweep(self) -> None:
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def watch(self, workflow, shared: Iterable[str]) -> None:
        """See to it that Snakemake, when it plans jobs, starts the run if it is one, and makes damaged files again.

        Parsing the Snakefile also serves dry-runs, reports and linting, which are told from a run only then.

        Args:
            workflow: Snakemake's.
            shared: files and folders that the study uses besides its own.

        Raises:
            WithstandError: if this Snakemake cannot be watched.
        """
        places = [str(self.folder), *shared]

        def plan(plan_jobs: Callable[[], None]) -> None:
            is_asked_to_run = workflow.executor_plugin is not None
            if is_asked_to_run and not workflow.dryrun and self._lock is None:
                try:
                    self.start()
                except (WithstandError, OSError) as error:
                    from snakemake.exceptions import WorkflowError

                    raise WorkflowError(str(error)) from None
            damaged = find_damaged(places)
            workflow.dag.forcefiles.update(map(str, damaged))
            plan_jobs()
            if is_asked_to_run and not workflow.dryrun:
                _use_devices(workflow)
            if is_asked_to_run:
                for note in _notes(workflow.dag, damaged):
                    print(note, file=sys.stderr)

        replace_planning(workflow, plan)

    def check_job(self) -> None:
        """In a job of a cluster: make sure that the run that submitted it has not been replaced.

        Raises:
            RunningError: if another run has taken its place, whose results this job would remove.
        """
        if _is_replaced():
            raise RunningError(f"another run of '{self.study}' has taken the place of the one that submitted this job")

    def record(self, config: Mapping, status: str) -> None:
        """Write ``run.json``: what ran, with what, on what, for how long, and how it ended."""
        self._sweep()  # a step of a killed run may have begun a file after that run's end
        finished = datetime.now(UTC)
        facts = {
            "study": self.study,
            "status": status,
            "started": self._started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": round((finished - self._started).total_seconds(), 1),
            "seconds_by_rule": seconds_by_rule(self.folder / "benchmarks"),
            "machine": {"host": platform.node(), "system": platform.platform(), "cpus": os.cpu_count()},
            "python": platform.python_version(),
            "versions": versions(),
            "commit": _commit(),
            "config": dict(config),
        }
        try:
            write_text(self.folder / "run.json", json.dumps(facts, indent=1, sort_keys=True, default=str) + "\n")
        except WithstandError as error:  # the run has ended, and what it made is there
            print(f"Note: {error}", file=sys.stderr)

    def outcome(self) -> str:
        """Where the results lie, and what a reader should know first, for the end of a run."""
        from withstand.steps.tabulate import warnings

        accuracy, failures, attacks = (
            self.folder / f"tables/{name}.parquet" for name in ("accuracy", "failures", "attacks")
        )
        if not (accuracy.exists() and failures.exists()):
            return f"Results of '{self.study}' lie in {self.folder}; its tables are not made yet."
        lines = [f"Tables and figures of '{self.study}' lie in {self.folder}/tables and {self.folder}/figures."]
        report = self.folder / "report.html"
        lines += [f"To read it all, open {report}."] if report.exists() else []
        return "\n".join(lines + [f"Note: {warning}" for warning in warnings(accuracy, failures, attacks)])


def _use_devices(workflow) -> None:
    """Tell the steps of a run on this machine where to compute, and start none on a GPU that torch cannot use.

    Jobs of a cluster, and steps in an environment of their own, find out themselves.
    """
    if workflow.resource_settings.nodes is not None:
        return
    limit = workflow.global_resources.get("gpu")
    devices.use_limit(None if limit is None else limit.value)
    is_wanted = any(job.resources.get("gpu") for job in workflow.dag.needrun_jobs())
    is_of_this_environment = not workflow.deployment_settings.deployment_method
    if is_wanted and is_of_this_environment and (problem := devices.problem_of_run()):
        from snakemake.exceptions import WorkflowError

        raise WorkflowError(problem)


def _notes(graph, damaged: Mapping[Path, str]) -> list[str]:
    """What is not as it should be among the results, given Snakemake's graph of jobs."""
    made = {Path(path) for job in graph.jobs for path in job.output}
    notes = []
    for path, reason in damaged.items():
        then = "is made again" if path in made else "no job of this run makes it"
        notes.append(f"{path} is damaged ({reason}), and {then}")
    unknown = [job for job in graph.jobs if graph.reason(job).no_metadata and not graph.needrun(job)]
    if unknown:
        count = sum(len(job.output) for job in unknown)
        notes.append(
            f"Snakemake has no record of how {count} files were made, and takes them as they are; "
            "with --forceall it makes all files again"
        )
    return notes


def seconds_by_rule(benchmarks: Path) -> dict[str, float]:
    """Seconds spent in each rule, over the latest execution of each of its jobs."""
    totals: dict[str, float] = {}
    for path in sorted(benchmarks.glob("*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # cut off by a kill, or a full disk
                totals[path.parent.name] = round(totals.get(path.parent.name, 0.0) + json.loads(line)["s"], 2)
    return totals


def die_with_run() -> None:
    """End this process soon after the run that started it; if that is on another machine, after it was replaced."""
    host, _, pid = os.environ.get(RUN_VARIABLE, "").rpartition(":")
    if not host or not hasattr(os, "pidfd_open"):
        return
    if host != socket.gethostname():
        _end_after(_wait_for_another_run)
        return
    try:
        descriptor = os.pidfd_open(int(pid))
    except ProcessLookupError:
        sys.exit("the run that started this step has ended")
    except OSError:
        return
    _end_after(lambda: select.select([descriptor], [], []))


def begin_log() -> None:
    """Write a first line where a run keeps the output of this step.

    A log that has a block of the disk has room for the error that is told when the disk has become full.
    """
    with suppress(OSError):
        if os.environ.get(RUN_VARIABLE) and stat.S_ISREG(os.fstat(2).st_mode):
            now = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
            os.write(2, f"begun at {now} by process {os.getpid()} on {socket.gethostname()}\n".encode())


def _end_after(wait: Callable[[], object]) -> None:
    """Interrupt this process after a wait in the background, so that it cleans up, or at last end it."""

    def end() -> None:
        wait()
        print("the run has ended, and this step with it", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_GRACE)
        os._exit(1)

    threading.Thread(target=end, name="die-with-run", daemon=True).start()


def _wait_for_another_run() -> None:
    while not _is_replaced():
        time.sleep(_LOOK_AGAIN)


def _is_replaced() -> bool:
    """Whether the lock names another run than the one that this process belongs to."""
    host, _, pid = os.environ.get(RUN_VARIABLE, "").rpartition(":")
    try:
        holder = Path(os.environ[LOCK_VARIABLE]).read_text(encoding="utf-8")
    except (KeyError, OSError):
        return False
    return bool(holder) and not holder.startswith(_holder(host, pid))


def _holder(host: str, pid: int | str) -> str:
    return f"process {pid} on {host} "


def _take_lock(path: Path, study: str) -> object:
    lock = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held until the process ends
    if not try_lock(lock):
        raise RunningError(f"study '{study}' is being run already ({_named(lock)}); wait for that run or stop it")
    lock.truncate(0)
    lock.write(f"{_holder(socket.gethostname(), os.getpid())}since {datetime.now():%Y-%m-%d %H:%M:%S}")
    lock.flush()
    return lock


def _named(lock: TextIO) -> str:
    """Who has a lock, by its own word, which it writes a moment after it took it."""
    for _ in range(20):
        lock.seek(0)
        if holder := lock.read().strip():
            return holder
        time.sleep(0.05)
    return "unknown"


def _commit() -> str | None:
    """The git commit of the working directory, marked ``-dirty`` where it has changes."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
