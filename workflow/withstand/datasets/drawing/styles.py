"""Renditions of a scene by hand: in ink, in hatching, and in flat colours."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from withstand.datasets.drawing.scenes import GRID, Scene, colour, to_bytes
from withstand.random import Stream

_LINE = 1.2
"""Half the width of an outline, in pixels."""


def outline(scene: Scene, stream: Stream) -> np.ndarray:
    """The outline and the edges of the texture as lines of ink on paper: uint8 (64, 64, 3), RGB."""
    steepness = np.hypot(*np.gradient(scene.pattern)) + 1e-3
    texture = np.clip(1.2 - np.abs(scene.pattern) / steepness, 0, 1) * scene.mask
    return _ink_on_paper(np.maximum(_contour(scene), 0.8 * texture), stream)


def hatching(scene: Scene, stream: Stream) -> np.ndarray:
    """Parallel strokes, broad where the texture is dark, within a thin outline: uint8 (64, 64, 3), RGB."""
    direction, gap = stream.uniform(0.5, 1.1), stream.uniform(2.6, 3.6)
    across = (GRID[0] * math.cos(direction) + GRID[1] * math.sin(direction)) / gap
    from_stroke = np.abs(across - np.round(across))
    breadth = np.where(scene.pattern > 0, 0.12, 0.38)
    strokes = np.clip(0.5 + (breadth - from_stroke) * gap, 0, 1) * scene.mask
    return _ink_on_paper(np.maximum(strokes, 0.8 * _contour(scene)), stream)


def flat(scene: Scene, stream: Stream) -> np.ndarray:
    """A silhouette in one colour on another, without texture: uint8 (64, 64, 3), RGB."""
    ground = colour(stream.uniform(), stream.uniform(0.1, 0.6), stream.uniform(0.7, 1.0))
    figure = colour(stream.uniform(), stream.uniform(0.5, 1.0), stream.uniform(0.2, 0.6))
    return to_bytes(ground + (figure - ground) * scene.mask)


def _contour(scene: Scene) -> np.ndarray:
    return np.clip(_LINE + 0.5 - np.abs(scene.distance), 0, 1)


def _ink_on_paper(amount: np.ndarray, stream: Stream) -> np.ndarray:
    paper = colour(stream.uniform(0.08, 0.16), stream.uniform(0.0, 0.2), stream.uniform(0.88, 1.0))
    ink = colour(stream.uniform(), stream.uniform(0.2, 0.8), stream.uniform(0.08, 0.3))
    return to_bytes(paper + (ink - paper) * amount)


STYLES: dict[str, Callable[[Scene, Stream], np.ndarray]] = {"outline": outline, "hatching": hatching, "flat": flat}
