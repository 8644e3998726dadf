"""Graphics cards of this machine: how many there are, and one for each process that asks.

Processes that run side by side must not share a card's memory. Each takes the lock of a card and keeps it until it
ends, however it ends; who comes when all are taken waits. ``CUDA_VISIBLE_DEVICES`` is honoured: locks are of the cards
themselves, not of their numbers.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"

_NONE = ("", "-1", "none", "void", "NoDevFiles")
_POLL, _TOLD_EVERY = 1.0, 60.0
_HELD: dict[tuple[str, ...], tuple[int, int]] = {}
"""The number of the card that this process has, and the descriptor of its lock, by the names of all cards."""


def at_hand(drivers: Path = Path("/proc/driver/nvidia/gpus")) -> int:
    """How many cards processes on this machine may use, without importing torch; 0 without NVIDIA's driver.

    Args:
        drivers: where the driver lists its cards.
    """
    listed = len(list(drivers.iterdir())) if drivers.is_dir() else 0
    if not listed or VISIBLE not in os.environ:
        return listed
    named = os.environ[VISIBLE].split(",")
    return 0 if named[0].strip() in _NONE else len(named)


def lease(names: Sequence[str], folder: Path | None = None, sleep: Callable[[float], None] = time.sleep) -> int:
    """Take a card for this process alone, until it ends; waits while all are taken.

    Args:
        names: what tells the cards from all others of the machine, such as their UUIDs, in the order of their numbers.
        folder: where the locks lie, the same for all who share the cards; by default the folder of temporary files.

    Returns the number of the card; the same one whenever this process asks.
    """
    if tuple(names) in _HELD:
        return _HELD[tuple(names)][0]
    folder = folder or Path(tempfile.gettempdir())
    files = [_open(folder / f"withstand-card-{re.sub(r'[^0-9A-Za-z-]', '_', name)}.lock") for name in names]
    waited = 0.0
    while True:
        for number, file in enumerate(files):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            for other in files:
                if other != file:
                    os.close(other)
            _HELD[tuple(names)] = number, file
            return number
        if waited % _TOLD_EVERY == 0:
            print(f"waiting for one of {len(names)} cards, all of which are taken", file=sys.stderr, flush=True)
        sleep(_POLL)
        waited += _POLL


def _open(path: Path) -> int:
    """A file that any user can lock; that of another user may only be open to be read, which is enough."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(descriptor).st_uid == os.getuid():
        os.fchmod(descriptor, 0o666)
    return descriptor
