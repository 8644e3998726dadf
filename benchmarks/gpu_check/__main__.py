"""``python -m benchmarks.gpu_check [--only NAME ...] [--rehearse] [--output FILE]``."""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CHECKS = {
    "environment": ("machine:environment", 30),
    "forward": ("same:forward", 60),
    "numbers": ("same:numbers", 40),
    "corruptions": ("same:corruptions", 60),
    "inference": ("inference:from_hdf5", 100),
    "corruptions_gpu": ("corruptions:run", 60),
    "jpeg": ("inference:from_jpeg", 90),
    "pgd": ("attacks:pgd", 60),
    "spatial": ("attacks:spatial", 60),
    "lesions": ("inside:lesions", 40),
    "similarity": ("inside:similarity", 40),
    "memory": ("machine:memory", 40),
    "leases": ("machine:leases", 60),
    "tests": ("machine:tests", 120),
    "compiled": ("inference:compiled", 150),
}
"""Each check, and the seconds that it may take; in the order of worth."""

FIRST = 7
"""How many of them run where none is named: four minutes."""


class TimeLimitError(Exception):
    """A check that took too long."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check")
    parser.add_argument("--only", nargs="+", choices=CHECKS, metavar="NAME", help=f"some of {', '.join(CHECKS)}")
    parser.add_argument("--rehearse", action="store_true", help="all of them on the CPU, with small sizes")
    parser.add_argument("--output", type=Path, default=ROOT / "results/gpu-check.jsonl")
    given = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "workflow"), str(ROOT / "tests")]
    from benchmarks.gpu_check import machine
    from benchmarks.gpu_check.setting import Setting

    lacking = machine.missing()
    print("missing: " + (", ".join(lacking) or "nothing"), flush=True)
    setting = Setting("cpu" if given.rehearse else "cuda", given.rehearse)
    names = given.only or (list(CHECKS) if given.rehearse else list(CHECKS)[:FIRST])
    given.output.parent.mkdir(parents=True, exist_ok=True)
    failed = []
    with given.output.open("a", encoding="utf-8") as file:
        for name in names:
            start = time.perf_counter()
            try:
                with limit(3 * CHECKS[name][1] if given.rehearse else CHECKS[name][1]):
                    for row in rows(name, setting):
                        print(row.row(), flush=True)
                        write(file, name, asdict(row), setting)
                        if not getattr(row, "passed", True):
                            failed.append(f"{row.name}: {row.found}")
            except Exception as error:
                traceback.print_exc()
                failed.append(f"{name}: {type(error).__name__}: {error}")
                write(file, name, {"name": name, "error": traceback.format_exc()}, setting)
            print(f"-- {name}: {time.perf_counter() - start:.1f} s", flush=True)
    print(f"{len(names)} checks, {len(failed)} failures" + "".join(f"\n  {line}" for line in failed), flush=True)
    sys.exit(bool(failed))


def rows(name: str, setting) -> Iterator:
    module, _, function = CHECKS[name][0].partition(":")
    yield from getattr(importlib.import_module(f"benchmarks.gpu_check.{module}"), function)(setting)


def write(file, check: str, row: dict, setting) -> None:
    """A line, on the disk before anything else happens."""
    import torch

    from withstand.provenance import versions

    device = "cpu" if setting.device == "cpu" else torch.cuda.get_device_name()
    facts = {"check": check, "device": device, "versions": versions(), "python": platform.python_version()}
    file.write(json.dumps(facts | row, sort_keys=True) + "\n")
    file.flush()


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    def stop(*_) -> None:
        raise TimeLimitError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    main()
