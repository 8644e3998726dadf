"""What each corruption is, as data: its category and its constants by image size and severity.

Constants are those of ImageNet-C (Hendrycks & Dietterich, ICLR 2019) for 224 px, of Tiny-ImageNet-C for 64 px and of
CIFAR-10-C for 32 px; other sizes take those of the nearest one. A corruption named ``x`` of category ``y`` is
the function ``withstand.corruptions.y.x``, and one severity's constants are its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """Category (the module of the function) and, for each image size, the arguments at severities 1 to 5."""

    category: str
    constants: dict[int, tuple[tuple[Any, ...], ...]]

    def nearest_size(self, size: int) -> int:
        """The size whose constants images of ``size`` px take; of two equally near ones the smaller."""
        return min(sorted(self.constants), key=lambda known: abs(known - size))

    def arguments(self, size: int, severity: int) -> tuple[Any, ...]:
        """The constants for images of ``size`` px at a severity of 1 to 5."""
        return self.constants[self.nearest_size(size)][severity - 1]


def _single(*values: float) -> tuple[tuple[float], ...]:
    return tuple((value,) for value in values)


CORRUPTIONS: dict[str, Corruption] = {
    # standard deviation of the noise, on the scale [0, 1]
    "gaussian_noise": Corruption(
        "noise",
        {
            224: _single(0.08, 0.12, 0.18, 0.26, 0.38),
            64: _single(0.04, 0.08, 0.12, 0.15, 0.18),
            32: _single(0.04, 0.06, 0.08, 0.09, 0.10),
        },
    ),
    # radius of the disk in pixels, sigma of its smoothed edge
    "defocus_blur": Corruption(
        "blur",
        {
            224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
            64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
            32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        },
    ),
    # added to the V channel of HSV
    "brightness": Corruption(
        "weather",
        {
            224: _single(0.1, 0.2, 0.3, 0.4, 0.5),
            64: _single(0.1, 0.2, 0.3, 0.4, 0.5),
            32: _single(0.05, 0.1, 0.15, 0.2, 0.3),
        },
    ),
    # factor about the channel means
    "contrast": Corruption(
        "digital",
        {
            224: _single(0.4, 0.3, 0.2, 0.1, 0.05),
            64: _single(0.4, 0.3, 0.2, 0.1, 0.05),
            32: _single(0.75, 0.5, 0.4, 0.3, 0.15),
        },
    ),
    # JPEG quality
    "jpeg_compression": Corruption(
        "digital",
        {
            224: _single(25, 18, 15, 10, 7),
            64: _single(65, 58, 50, 40, 25),
            32: _single(80, 65, 58, 50, 40),
        },
    ),
}
"""Every corruption by name."""
