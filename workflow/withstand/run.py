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
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from withstand.errors import WithstandError
from withstand.files import try_lock, write_text
from withstand.provenance import versions

RUN_VARIABLE = "WITHSTAND_RUN"
"""Environment variable that tells steps which process runs them: ``host:pid``."""

LOCK_VARIABLE = "WITHSTAND_LOCK"
"""Environment variable that tells them which file that process has locked."""

IMAGE_VARIABLE = "WITHSTAND_IMAGE"
"""Environment variable that names the image in which steps run with ``--sdm apptainer``: a file or an address."""

_GRACE = 5.0
_LOOK_AGAIN = 3.0
_STALE = 24 * 3600.0


class RunningError(WithstandError):
    """Another run of the same study is under way."""


class DeploymentError(WithstandError):
    """Steps cannot run in the environment that was asked for."""


class Run:
    """A run of one study, from the lock to the record."""

    def __init__(self, study: str, results: Path = Path("results")) -> None:
        self.study, self.folder = study, results / study

    def start(self) -> None:
        """Take the lock, sweep up what a killed run left half written, and let steps know who runs them.

        Raises:
            RunningError: if another run holds the lock.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ".lock"
        self._lock = _take_lock(path, self.study)
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        shared = (self.folder.parent / name for name in ("weights", "downloads"))
        for leftover in (path for folder in shared for path in folder.rglob(".*.tmp")):
            if time.time() - leftover.stat().st_mtime > _STALE:  # other studies may be writing here
                leftover.unlink(missing_ok=True)
        os.environ[RUN_VARIABLE] = f"{socket.gethostname()}:{os.getpid()}"
        os.environ[LOCK_VARIABLE] = str(path.absolute())
        self._started = datetime.now(UTC)

    def check_job(self) -> None:
        """In a job of a cluster: make sure that the run that submitted it has not been replaced.

        Raises:
            RunningError: if another run has taken its place, whose results this job would remove.
        """
        if _is_replaced():
            raise RunningError(f"another run of '{self.study}' has taken the place of the one that submitted this job")

    def record(self, config: Mapping, status: str) -> None:
        """Write ``run.json``: what ran, with what, on what, for how long, and how it ended."""
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
        write_text(self.folder / "run.json", json.dumps(facts, indent=1, sort_keys=True, default=str) + "\n")

    def outcome(self) -> str:
        """Where the results lie, and what a reader should know first, for the end of a run."""
        from withstand.steps.tabulate import warnings

        accuracy, failures = (self.folder / f"tables/{name}.parquet" for name in ("accuracy", "failures"))
        if not (accuracy.exists() and failures.exists()):
            return f"Results of '{self.study}' lie in {self.folder}; its tables are not made yet."
        lines = [f"Tables and figures of '{self.study}' lie in {self.folder}/tables and {self.folder}/figures."]
        report = self.folder / "report.html"
        lines += [f"To read it all, open {report}."] if report.exists() else []
        return "\n".join(lines + [f"Note: {warning}" for warning in warnings(accuracy, failures)])


def use_environment(methods: Collection[str]) -> str | None:
    """Prepare this process, and the jobs that it starts, for the environment in which steps run.

    Args:
        methods: what Snakemake deploys software by: ``conda``, ``apptainer``, both or none.

    Returns the image for ``apptainer``.

    Raises:
        DeploymentError: if there is no image, or it could not run the code of this folder.
    """
    if "apptainer" in methods:
        return _use_image(os.environ.get(IMAGE_VARIABLE, ""))
    own, others = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if "conda" not in methods:
        os.environ["PATH"] = own + os.pathsep + others  # whether or not the environment is activated
    elif sys.prefix != sys.base_prefix:
        # conda puts its programs where those of its base are, which may be behind a venv's
        kept = [folder for folder in others.split(os.pathsep) if folder != own]
        os.environ["PATH"] = os.pathsep.join([*kept, own])
    return None


def _use_image(image: str) -> str:
    if not image:
        raise DeploymentError(f"--sdm apptainer: {IMAGE_VARIABLE} names no image (docs/scale.md)")
    if "://" not in image and not Path(image).exists():
        raise DeploymentError(f"--sdm apptainer: {IMAGE_VARIABLE}: there is no {image}")
    code = Path(__file__).resolve().parents[1]
    if code != Path("workflow").resolve():
        raise DeploymentError(
            f"--sdm apptainer: withstand is installed in {code}, which an image does not see;"
            " install it from here: pip install --no-deps --editable ."
        )
    # params carry digests of the code in this folder, so that is what must run, and not the image's copy
    prefix = "APPTAINERENV_" if shutil.which("apptainer") else "SINGULARITYENV_"
    os.environ[f"{prefix}PYTHONPATH"] = str(code)
    return image


def seconds_by_rule(benchmarks: Path) -> dict[str, float]:
    """Seconds spent in each rule, over the latest execution of each of its jobs."""
    totals: dict[str, float] = {}
    for path in sorted(benchmarks.glob("*/*.jsonl")):
        seconds = sum(json.loads(line)["s"] for line in path.read_text(encoding="utf-8").splitlines())
        totals[path.parent.name] = round(totals.get(path.parent.name, 0.0) + seconds, 2)
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
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        raise RunningError(f"study '{study}' is being run already ({holder}); wait for that run or stop it")
    lock.truncate(0)
    lock.write(f"{_holder(socket.gethostname(), os.getpid())}since {datetime.now():%Y-%m-%d %H:%M:%S}")
    lock.flush()
    return lock


def _commit() -> str | None:
    """The git commit of the working directory, marked ``-dirty`` where it has changes."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
