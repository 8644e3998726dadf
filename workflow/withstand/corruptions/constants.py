"""What each corruption is, as data: its category and its constants by image size and severity.

Constants are those of ImageNet-C (Hendrycks & Dietterich, ICLR 2019) for 224 px, of Tiny-ImageNet-C for 64 px and of
CIFAR-10-C for 32 px; other sizes take those of the nearest one. A corruption named ``x`` of category ``y`` is
the function ``withstand.corruptions.y.x``, and one severity's constants are its arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SEVERITIES = (1, 2, 3, 4, 5)

IMAGENET_C = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The fifteen corruptions of ImageNet-C, over which mCE and mean accuracy are published, whatever others there are."""

IMAGENET_C_EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Its four extra ones, meant for validation, which no published mean counts."""


@dataclass(frozen=True)
class Corruption:
    """Category (the module of the function) and, for each image size, the arguments at severities 1 to 5."""

    category: str
    constants: dict[int, tuple[tuple[Any, ...], ...]]

    def arguments(self, size: int, severity: int) -> tuple[Any, ...]:
        """The constants for images of ``size`` px at a severity of 1 to 5."""
        return self.constants[nearest_size(self.constants, size)][severity - 1]


def nearest_size(known: Iterable[int], size: int) -> int:
    """The known size whose constants images of ``size`` px take; of two equally near ones the smaller."""
    return min(sorted(known), key=lambda other: abs(other - size))


def _single(*values: float) -> tuple[tuple[float], ...]:
    return tuple((value,) for value in values)


def _times(size: int, rows: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(size * value for value in row) for row in rows)


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
    # expected number of events at full light
    "shot_noise": Corruption(
        "noise",
        {
            224: _single(60, 25, 12, 5, 3),
            64: _single(250, 100, 50, 30, 15),
            32: _single(500, 250, 100, 75, 50),
        },
    ),
    # share of the values that are replaced
    "impulse_noise": Corruption(
        "noise",
        {
            224: _single(0.03, 0.06, 0.09, 0.17, 0.27),
            64: _single(0.01, 0.02, 0.05, 0.08, 0.14),
            32: _single(0.01, 0.02, 0.03, 0.05, 0.07),
        },
    ),
    # standard deviation of the factor
    "speckle_noise": Corruption(
        "noise",
        {
            224: _single(0.15, 0.2, 0.35, 0.45, 0.6),
            64: _single(0.15, 0.2, 0.25, 0.3, 0.35),
            32: _single(0.06, 0.1, 0.12, 0.16, 0.2),
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
    # sigma of the two blurs, greatest offset, rounds of copying
    "glass_blur": Corruption(
        "blur",
        {
            224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
            64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
            32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        },
    ),
    # radius and sigma of the kernel
    "motion_blur": Corruption(
        "blur",
        {
            224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
            64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
            32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        },
    ),
    # end and step of the enlargements
    "zoom_blur": Corruption(
        "blur",
        {
            224: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
            64: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
            32: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        },
    ),
    # sigma
    "gaussian_blur": Corruption(
        "blur",
        {
            224: _single(1, 2, 3, 4, 6),
            64: _single(0.5, 0.75, 1, 1.25, 1.5),
            32: _single(0.4, 0.6, 0.7, 0.8, 1),
        },
    ),
    # mean and deviation of the noise, enlargement, threshold, radius and sigma of the motion blur, image weight
    "snow": Corruption(
        "weather",
        {
            224: (
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
            64: (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
            ),
            32: (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ),
        },
    ),
    # weights of the image and of the photograph of frost, scale of the photograph
    "frost": Corruption(
        "weather",
        {
            224: ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
            64: ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
            32: ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        },
    ),
    # strength, decay of the fractal
    "fog": Corruption(
        "weather",
        {
            224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
            64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
            32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
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
    # mean, standard deviation and blur of the noise, threshold, strength, 1 for mud instead of water
    "spatter": Corruption(
        "weather",
        {
            224: (
                (0.65, 0.3, 4, 0.69, 0.6, 0),
                (0.65, 0.3, 3, 0.68, 0.6, 0),
                (0.65, 0.3, 2, 0.68, 0.5, 0),
                (0.65, 0.3, 1, 0.65, 1.5, 1),
                (0.67, 0.4, 1, 0.65, 1.5, 1),
            ),
            64: (
                (0.62, 0.1, 0.7, 0.7, 0.6, 0),
                (0.65, 0.1, 0.8, 0.7, 0.6, 0),
                (0.65, 0.3, 1, 0.69, 0.6, 0),
                (0.65, 0.1, 0.7, 0.68, 0.6, 1),
                (0.65, 0.1, 0.5, 0.67, 0.6, 1),
            ),
            32: (
                (0.62, 0.1, 0.7, 0.7, 0.5, 0),
                (0.65, 0.1, 0.8, 0.7, 0.5, 0),
                (0.65, 0.3, 1, 0.69, 0.5, 0),
                (0.65, 0.1, 0.7, 0.69, 0.6, 1),
                (0.65, 0.1, 0.5, 0.68, 0.6, 1),
            ),
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
    # scale and blur of the displacements, jitter of the affine map, all in pixels
    "elastic_transform": Corruption(
        "digital",
        {
            224: _times(
                244,
                ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
            ),
            64: _times(64, ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02))),
            32: _times(32, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))),
        },
    ),
    # share of each side
    "pixelate": Corruption(
        "digital",
        {
            224: _single(0.6, 0.5, 0.4, 0.3, 0.25),
            64: _single(0.9, 0.8, 0.7, 0.6, 0.5),
            32: _single(0.95, 0.9, 0.85, 0.75, 0.65),
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
    # factor of the S channel of HSV, and what is added to it
    "saturate": Corruption(
        "digital",
        {
            224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
            64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
            32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        },
    ),
}
"""Every corruption by name."""
