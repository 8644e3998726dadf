"""GPUs of this machine: how many there are, and one for each process that asks.

Processes that run side by side must not share a GPU's memory. Each takes the lock of a GPU and keeps it until it
ends, however it ends; a process that finds all taken waits. ``CUDA_VISIBLE_DEVICES`` is honoured: locks are of the GPUs
themselves, not of their numbers.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from withstand import gpu_messages

VISIBLE = "CUDA_VISIBLE_DEVICES"

DRIVER = Path("/proc/driver/nvidia")
"""Where NVIDIA's driver says which version it is, and lists its GPUs."""

_NONE = ("", "-1", "none", "void", "NoDevFiles")
_POLL, _TOLD_EVERY = 1.0, 60.0
_HELD: dict[tuple[str, ...], tuple[int, int]] = {}
"""The number of the GPU that this process has, and the descriptor of its lock, by the names of all GPUs."""


def at_hand() -> int:
    """How many GPUs processes on this machine may use, without importing torch; 0 without NVIDIA's driver."""
    listed = len(list(folder.iterdir())) if (folder := DRIVER / "gpus").is_dir() else 0
    if not listed or VISIBLE not in os.environ:
        return listed
    return 0 if is_hidden(os.environ) else len(os.environ[VISIBLE].split(","))


def is_hidden(environment: Mapping[str, str]) -> bool:
    """Whether ``CUDA_VISIBLE_DEVICES`` hides all GPUs."""
    return VISIBLE in environment and environment[VISIBLE].split(",")[0].strip() in _NONE


def leased() -> int | None:
    """The number of the GPU that this process has taken; None without one."""
    return next((number for number, _ in _HELD.values()), None)


def lease(names: Sequence[str], folder: Path | None = None, sleep: Callable[[float], None] = time.sleep) -> int:
    """Take a GPU for this process alone, until it ends; waits while all are taken.

    Args:
        names: what tells the GPUs from all others of the machine, such as their UUIDs, in the order of their numbers.
        folder: where the locks lie, the same for all who share the GPUs; by default the folder of temporary files.

    Returns the number of the GPU; the same one whenever this process asks.
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
            print(gpu_messages.waiting(len(names), folder), file=sys.stderr, flush=True)
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
