"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LOG_INTERVAL = 20.0
"""Seconds between two lines of a log."""


@contextmanager
def progress(total: int | None, name: str, unit: str) -> Iterator[Callable[[int], object]]:
    """Yield a function that advances the progress of ``total`` units, of an unknown number for None, by n."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=name, unit=f" {unit}") as bar:
            yield bar.update
        return
    yield (lines := _Lines(total, name, unit)).advance
    lines.write()


class _Lines:
    def __init__(self, total: int | None, name: str, unit: str) -> None:
        self._total, self._name, self._unit = total, name, unit
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._last >= LOG_INTERVAL:
            self.write()

    def write(self) -> None:
        self._last = time.monotonic()
        seconds = self._last - self._start
        pace = f"{self._done / seconds:,.0f} {self._unit}/s" if seconds > 0 else ""
        share = f"{self._done:,}" + (f"/{self._total:,}" if self._total is not None else "")
        print(f"{self._name}: {share} {self._unit}, {pace}", file=sys.stderr, flush=True)
