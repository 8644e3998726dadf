"""Run the benchmarks, or one of them: ``python -m benchmarks [name]``."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import torch

NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "__main__", "attacked", "comparison", "memory", "photographs")
)


def device() -> str:
    """The processor and its number of cores, and the graphics card if there is one."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    card = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{names[0] if names else 'CPU'}, {os.cpu_count()} cores{card}"


def main() -> None:
    chosen = sys.argv[1:] or NAMES
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        sys.exit(f"no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    above = None
    for name in chosen:
        for line in import_module(f"benchmarks.{name}").run():
            line.append(device())
            if line.header() != above:
                above = line.header()
                print(f"\n{above}", flush=True)
            print(line.row(), flush=True)


if __name__ == "__main__":
    main()
