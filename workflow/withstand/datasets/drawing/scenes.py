"""Scenes: one object of some shape and texture, in some pose; and the image a camera would take of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from withstand.datasets.drawing.shapes import SHAPES
from withstand.datasets.drawing.textures import TEXTURES
from withstand.random import Stream

SIZE = 64
"""Height and width of an image, in pixels."""

SMALLEST, LARGEST = 17.0, 27.0
"""Radius of objects, in pixels."""

_SHADOW_SOFTNESS = 5.0


@dataclass(frozen=True)
class Scene:
    """One object, seen by no one yet.

    ``distance`` float32 (64, 64): signed distance of each pixel to the object's outline in pixels, negative inside.
    ``pattern`` float32 (64, 64): its texture, about zero. ``shadow`` float32 (64, 64): distance to the outline of its
    shadow. ``slope`` float32 (64, 64): how far a pixel lies towards the light, in units of the object's radius.
    """

    distance: np.ndarray
    pattern: np.ndarray
    shadow: np.ndarray
    slope: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The share of each pixel that the object covers: float32 (64, 64)."""
        return np.clip(0.5 - self.distance, 0, 1)


def compose(stream: Stream, shape: str, texture: str) -> Scene:
    """An object of any pairing of shape and texture, in a random pose and light; most are large, a few are small."""
    radius = LARGEST - (LARGEST - SMALLEST) * stream.uniform() ** 2
    room = min(7.0, SIZE / 2 - 0.8 * radius)
    centre_x, centre_y = (stream.uniform(-room, room) for _ in range(2))
    shape_angle, texture_angle = (stream.uniform(-0.4, 0.4) for _ in range(2))
    period = stream.uniform(7.0, 11.0)
    phase_x, phase_y = (stream.uniform(-math.pi, math.pi) for _ in range(2))
    light = stream.uniform(0, 2 * math.pi)
    shadow_length = stream.uniform(1.5, 5.0)

    x, y = GRID[0] - centre_x, GRID[1] - centre_y
    towards_x, towards_y = math.cos(light), math.sin(light)

    def distance(x, y):
        return SHAPES[shape](*_rotate(x / radius, y / radius, shape_angle)) * radius

    u, v = _rotate(x * (2 * math.pi / period), y * (2 * math.pi / period), texture_angle)
    return Scene(
        distance=distance(x, y),
        pattern=TEXTURES[texture](u + phase_x, v + phase_y, stream),
        shadow=distance(x + shadow_length * towards_x, y + shadow_length * towards_y),
        slope=(x * towards_x + y * towards_y) / radius,
    )


def photograph(scene: Scene, stream: Stream, most_faded: float = 1.0) -> np.ndarray:
    """The scene in random colours before a random background: uint8 (64, 64, 3), RGB.

    The two colours of the texture are drawn together by up to ``most_faded``: 0 leaves them as they are, 1 lets them
    meet, so that in one scene of seventeen the shape alone tells the class.
    """
    dark, light = _surface_colours(stream, most_faded)
    amount = np.clip(0.5 + 1.6 * scene.pattern, 0, 1)
    surface = dark + (light - dark) * amount
    surface *= 1 + stream.uniform(0.0, 0.3) * scene.slope
    image = _background(stream)
    shade = np.clip(0.5 - scene.shadow / _SHADOW_SOFTNESS, 0, 1)
    image *= 1 - stream.uniform(0.1, 0.5) * shade
    image += (surface - image) * scene.mask
    return to_bytes(image * _lighting(stream))


def _surface_colours(stream: Stream, most_faded: float) -> tuple[np.ndarray, np.ndarray]:
    """A dark and a light colour of independent hues, in some scenes little apart: float32 (3, 1, 1), in [0, 1]."""
    dark = colour(stream.uniform(), stream.uniform(0.4, 0.9), stream.uniform(0.12, 0.4))
    light = colour(stream.uniform(), stream.uniform(0.1, 0.6), stream.uniform(0.75, 1.0))
    shift = 0.5 * min(most_faded, 1.2 * stream.uniform() ** 3)
    return dark + (light - dark) * shift, light + (dark - light) * shift


def colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """HSV to RGB, all in [0, 1]: float32 (3, 1, 1), to go with the planes of an image."""
    ramps = (min(1.0, max(0.0, abs((hue * 6 + shift) % 6 - 3) - 1)) for shift in (0, 4, 2))
    levels = [value * (1 - saturation + saturation * ramp) for ramp in ramps]
    return np.array(levels, dtype=np.float32).reshape(3, 1, 1)


def _background(stream: Stream) -> np.ndarray:
    """A gradient between two muted colours, soft clouds, and discs of light out of focus: float32 (3, 64, 64)."""
    start, end = (colour(stream.uniform(), stream.uniform(0.05, 0.5), stream.uniform(0.3, 0.8)) for _ in range(2))
    amount = np.clip(0.5 + 0.5 * _slope(stream), 0, 1)
    wave_x, wave_y = (np.sin(stream.uniform(2, 6) * AXIS + stream.uniform(0, 2 * math.pi)) for _ in range(2))
    clouds = 0.08 * wave_y[:, None] * wave_x
    image = start + (end - start) * amount + clouds
    for _ in range(stream.integers(5)):
        _add_disc_of_light(image, stream)
    return image


def _add_disc_of_light(image: np.ndarray, stream: Stream) -> None:
    """Add a tinted disc, or take one away."""
    x, y = (stream.uniform(0, SIZE) for _ in range(2))
    radius = stream.uniform(3, 12)
    tint = colour(stream.uniform(), stream.uniform(0.1, 0.6), stream.uniform(0.06, 0.25))
    sign = 1 if stream.uniform() < 0.6 else -1
    columns, rows = (slice(max(0, int(at - radius)), int(at + radius) + 1) for at in (x, y))
    across, along = GRID[0, 0, columns] + SIZE / 2 - x, GRID[0, 0, rows] + SIZE / 2 - y
    inside = np.clip((radius - np.hypot(across, along[:, None])) / 2.5, 0, 1)
    image[:, rows, columns] += inside * (sign * tint)


def _lighting(stream: Stream) -> np.ndarray:
    """Light that falls off across the image: float32 (64, 64), about 0.6 to 1.2."""
    return stream.uniform(0.8, 1.0) + stream.uniform(0.0, 0.2) * _slope(stream)


def _slope(stream: Stream) -> np.ndarray:
    """A plane that rises in a random direction, about -1 to 1: float32 (64, 64)."""
    direction = stream.uniform(0, 2 * math.pi)
    return math.cos(direction) * AXIS + math.sin(direction) * AXIS[:, None]


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Planes of floats in [0, 1] (3, 64, 64), clipped, to uint8 (64, 64, 3)."""
    planes = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _rotate(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _pixel_grid() -> np.ndarray:
    axis = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    return np.stack(np.meshgrid(axis, axis, indexing="xy"))


GRID = _pixel_grid()
"""Pixel centres relative to the image's centre: float32 (2, 64, 64), x then y."""

AXIS = GRID[0, 0] / np.float32(SIZE / 2)
"""One row of it with the image's borders at -1 and 1: float32 (64)."""
