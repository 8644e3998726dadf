"""Seconds of forward passes as rehearsals have measured them on this machine.

``results/rates.jsonl`` has a line for each model at full size on each device and precision; a later line counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from withstand.files import write_text
from withstand.planning.costs import Device

FILE = Path("results/rates.jsonl")


def add(lines: Iterable[Mapping]) -> None:
    """Add measurements: device (as torch names it, ``cpu`` for one core), model, flops, values, precision, seconds."""
    known = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    write_text(FILE, known + "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def measured_on(device: Device) -> Device:
    """The device with what was measured on it."""
    found = {}
    with suppress(OSError):
        for line in FILE.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a line of another version
                told = json.loads(line)
                if device.told in told["device"]:
                    found[told["flops"], told["values"], told["precision"]] = float(told["seconds"])
    return replace(device, measured=found)
