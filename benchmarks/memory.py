"""Peak memory of a process of its own."""

from __future__ import annotations

import subprocess
import sys

_REPORT = """
from pathlib import Path
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024)
"""


def peak_memory(script: str, *arguments: object) -> float:
    """MB of a process that runs a script, which finds the arguments in ``sys.argv[1:]``."""
    command = [sys.executable, "-c", script + _REPORT, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
