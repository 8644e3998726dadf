"""Surfaces of objects: a pattern about zero over coordinates in which one period is 2 pi."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from withstand.random import Stream

_GRAIN = 2
"""Height and width of a grain of ``speckled``, in pixels."""


def _striped(u, v, stream):
    return np.sin(u)


def _checkered(u, v, stream):
    return 2 * np.sin(0.6 * u) * np.sin(0.6 * v)


def _dotted(u, v, stream):
    return np.cos(0.9 * u) + np.cos(0.9 * v) - 0.7


def _wavy(u, v, stream):
    return np.sin(v + 1.9 * np.sin(0.5 * u))


def _gridded(u, v, stream):
    return 3 * np.maximum(np.cos(0.8 * u), np.cos(0.8 * v)) - 2.3


def _ringed(u, v, stream):
    return np.sin(np.hypot(u, v) * 1.1)


def _bricked(u, v, stream):
    row = np.floor(v / 4.4)
    mortar = np.maximum(np.cos(0.5 * u + np.pi * (row % 2)) - 0.55, np.cos(2 * np.pi * v / 4.4) - 0.25)
    return -2 * mortar


def _marbled(u, v, stream):
    angles, phases = stream.uniform(0, 2 * np.pi, size=6), stream.uniform(0, 2 * np.pi, size=6)
    waves = (
        np.sin(0.55 * (u * math.cos(angle) + v * math.sin(angle)) + float(phase))
        for angle, phase in zip(angles, phases, strict=True)
    )
    return sum(waves) / 1.5


def _speckled(u, v, stream):
    grains = stream.uniform(-0.6, 0.6, size=tuple(side // _GRAIN for side in u.shape))
    return grains.astype(np.float32).repeat(_GRAIN, axis=0).repeat(_GRAIN, axis=1)


def _spoked(u, v, stream):
    return np.sin(9 * np.arctan2(v, u))


TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray, Stream], np.ndarray]] = {
    "striped": _striped,
    "checkered": _checkered,
    "dotted": _dotted,
    "wavy": _wavy,
    "gridded": _gridded,
    "ringed": _ringed,
    "bricked": _bricked,
    "marbled": _marbled,
    "speckled": _speckled,
    "spoked": _spoked,
}
