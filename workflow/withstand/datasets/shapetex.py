"""shapetex: generated images of ten classes that both shape and texture tell apart.

An image shows one object, whose outline (``SHAPES``) and surface (``TEXTURES``) both name its class, on a
shaded background. Position, size, rotation, colours, background and lighting vary. A sample is a function
of its id alone, so sets of any size are made in any order and in parallel, without a file to download.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from withstand.datasets import splits
from withstand.random import Stream

SIZE = 64
"""Height and width of an image, in pixels."""

_SEED = 2021
_GRAIN = 2


@dataclass(frozen=True)
class Source:
    """One split as a source of images (see ``datasets.registry.Source``). Splits share no sample."""

    split: str

    def available(self) -> int:
        return splits.SHAPETEX[self.split]

    def sample_ids(self, count: int) -> list[str]:
        return [f"{self.split}-{index:06d}" for index in range(count)]

    def class_names(self) -> list[str]:
        """The ten classes, in the order of their labels: '<texture> <shape>'."""
        return [f"{texture} {shape}" for texture, shape in zip(TEXTURES, SHAPES, strict=True)]

    def label_space(self) -> str:
        return "shapetex"

    def native_size(self) -> int:
        return SIZE

    def labels(self, sample_ids: Sequence[str]) -> np.ndarray:
        return np.array([label(sample_id) for sample_id in sample_ids], dtype=np.int64)

    def read(self, sample_id: str) -> np.ndarray:
        return render(sample_id)


def label(sample_id: str) -> int:
    """The class of a sample: classes take turns, so any first n of a split are balanced."""
    return int(sample_id.rsplit("-", 1)[1]) % len(SHAPES)


def render(sample_id: str) -> np.ndarray:
    """The image of a sample: uint8 (64, 64, 3), RGB."""
    index = label(sample_id)
    return render_object(Stream(_SEED, "shapetex", sample_id), list(SHAPES)[index], list(TEXTURES)[index])


def render_object(stream: Stream, shape: str, texture: str) -> np.ndarray:
    """One object with any pairing of shape and texture: uint8 (64, 64, 3), RGB."""
    centre_x, centre_y = stream.uniform(-6, 6, size=2)
    radius = stream.uniform(19, 26)
    shape_angle, texture_angle = stream.uniform(-0.45, 0.45, size=2)
    period = stream.uniform(7.0, 10.0)
    phase_x, phase_y = stream.uniform(0, 2 * np.pi, size=2)

    x, y = _GRID[0] - centre_x, _GRID[1] - centre_y
    distance = SHAPES[shape](*_rotate(x / radius, y / radius, shape_angle)) * radius
    mask = np.clip(0.5 - distance, 0, 1)

    u, v = _rotate(x * (2 * np.pi / period), y * (2 * np.pi / period), texture_angle)
    pattern = TEXTURES[texture](u + phase_x, v + phase_y, stream)
    amount = np.clip(0.5 + 1.6 * pattern, 0, 1)

    dark, light = _surface_colours(stream)
    surface = dark + (light - dark) * amount[..., None]
    image = _background(stream)
    image += (surface - image) * mask[..., None]
    return _to_bytes(image * _lighting(stream))


def _surface_colours(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """A dark and a light colour of independent hues: float32 (3,) each, in [0, 1]."""
    dark = _colour(stream.uniform(), stream.uniform(0.4, 0.9), stream.uniform(0.12, 0.4))
    light = _colour(stream.uniform(), stream.uniform(0.1, 0.6), stream.uniform(0.75, 1.0))
    return dark, light


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """HSV to RGB, all in [0, 1]: float32 (3,)."""
    ramp = np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return (value * (1 - saturation + saturation * np.clip(ramp, 0, 1))).astype(np.float32)


def _background(stream: Stream) -> np.ndarray:
    """A smooth gradient between two muted colours, with soft clouds: float32 (64, 64, 3)."""
    start, end = (_colour(stream.uniform(), stream.uniform(0.05, 0.4), stream.uniform(0.35, 0.75)) for _ in range(2))
    direction = stream.uniform(0, 2 * np.pi)
    ramp = (_UNIT[0] * np.cos(direction) + _UNIT[1] * np.sin(direction)) * 0.5 + 0.5
    frequency = stream.uniform(2, 5, size=2)
    phase = stream.uniform(0, 2 * np.pi, size=2)
    clouds = 0.06 * np.sin(frequency[0] * _UNIT[0] + phase[0]) * np.sin(frequency[1] * _UNIT[1] + phase[1])
    amount = np.clip(ramp, 0, 1).astype(np.float32)[..., None]
    return start + (end - start) * amount + clouds.astype(np.float32)[..., None]


def _lighting(stream: Stream) -> np.ndarray:
    """Light that falls off across the image: float32 (64, 64, 1), about 0.75 to 1.1."""
    direction = stream.uniform(0, 2 * np.pi)
    strength = stream.uniform(0.0, 0.15)
    level = stream.uniform(0.9, 1.0)
    slope = _UNIT[0] * np.cos(direction) + _UNIT[1] * np.sin(direction)
    return (level + strength * slope).astype(np.float32)[..., None]


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _rotate(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _pixel_grid() -> np.ndarray:
    """Pixel centres relative to the image's centre: float32 (2, 64, 64), x then y."""
    axis = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    return np.stack(np.meshgrid(axis, axis, indexing="xy"))


_GRID = _pixel_grid()
_UNIT = _GRID / np.float32(SIZE / 2)


# Shapes: signed distance to the outline (negative inside), in units of the object's radius.


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
    side = np.abs(x)
    lobes = np.hypot(side - 0.4, y + 0.3) - 0.5
    tip = np.maximum(0.727 * side + 0.687 * y - 0.584, -y)
    return np.minimum(lobes, tip)


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


# Textures: a pattern about zero over coordinates in which one period is 2 pi.


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
    return np.sin(np.hypot(u - u.mean(), v - v.mean()) * 1.1)


def _bricked(u, v, stream):
    row = np.floor(v / 4.4)
    mortar = np.maximum(np.cos(0.5 * u + np.pi * (row % 2)) - 0.55, np.cos(2 * np.pi * v / 4.4) - 0.25)
    return -2 * mortar


def _marbled(u, v, stream):
    angles, phases = stream.uniform(0, 2 * np.pi, size=6), stream.uniform(0, 2 * np.pi, size=6)
    waves = (
        np.sin(0.55 * (u * np.cos(angle) + v * np.sin(angle)) + phase)
        for angle, phase in zip(angles, phases, strict=True)
    )
    return sum(waves) / 1.5


def _speckled(u, v, stream):
    grains = stream.uniform(-0.6, 0.6, size=(SIZE // _GRAIN, SIZE // _GRAIN))
    return np.kron(grains, np.ones((_GRAIN, _GRAIN)))


def _spoked(u, v, stream):
    return np.sin(9 * np.arctan2(v - v.mean(), u - u.mean()))


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
