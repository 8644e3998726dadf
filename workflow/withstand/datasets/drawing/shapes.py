"""Outlines of objects: signed distance (negative inside) over coordinates in units of the object's radius."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _disk(x, y):
    return np.hypot(x, y) - 0.88


def _square(x, y):
    return np.maximum(np.abs(x), np.abs(y)) - 0.76


def _triangle(x, y):
    return np.maximum(0.866 * np.abs(x) - 0.5 * y, y) - 0.5


def _star(x, y):
    return np.hypot(x, y) - 0.68 - 0.3 * np.cos(5 * np.arctan2(x, -y))


def _cross(x, y):
    across, along = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return np.maximum(across - 0.3, along - 0.95)


def _ring(x, y):
    return np.abs(np.hypot(x, y) - 0.68) - 0.27


def _crescent(x, y):
    return np.maximum(np.hypot(x, y) - 0.95, 0.72 - np.hypot(x - 0.42, y))


def _heart(x, y):
    """Two lobes and a right-angled tip; the distance is exact, inside too."""
    side, height = 0.6 * np.abs(x), 0.56 - 0.6 * y
    lobe = np.hypot(side - 0.25, height - 0.75) - 0.125**0.5
    along_tip = 0.5 * np.maximum(side + height, 0)
    edge = np.minimum(np.hypot(side, height - 1), np.hypot(side - along_tip, height - along_tip))
    return np.where(side + height > 1, lobe, np.copysign(edge, side - height)) / 0.6


def _hourglass(x, y):
    return np.maximum(0.8 * np.abs(x) - 0.6 * np.abs(y) - 0.12, np.abs(y) - 0.85)


def _trefoil(x, y):
    return np.hypot(x, y) - 0.64 - 0.34 * np.cos(3 * np.arctan2(x, -y))


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disk": _disk,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
    "heart": _heart,
    "hourglass": _hourglass,
    "trefoil": _trefoil,
}
