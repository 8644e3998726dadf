"""What the corruptions are compared with at 224 px on photographs, and how; for tests and the benchmark ``parity``.

imagecorruptions 1.1.5 is the reference; where it departs from the ImageNet-C scripts (motion blur, snow, frost,
elastic transform), a transcription of those, with ImageMagick where they use it. Random corruptions are compared in two
ways: pixel by pixel when the reference is given our random numbers, and by their statistics when it draws its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest.mock import patch

import corrupt_tta
import numpy as np
import skimage.data
import torch
from imagecorruptions import corruptions as peer
from PIL import Image
from scipy import stats

import imagenet_c
from withstand.corruptions.constants import CORRUPTIONS
from withstand.corruptions.frost_pictures import PICTURES
from withstand.corruptions.pixels import SampleNoise
from withstand.corruptions.registry import corrupt

SIZE = 224
SAMPLE = "photograph"
FROST = Path(corrupt_tta.__file__).parent / "assets" / "frost"
DETERMINISTIC = (
    "defocus_blur",
    "zoom_blur",
    "gaussian_blur",
    "brightness",
    "saturate",
    "contrast",
    "pixelate",
    "jpeg_compression",
)
RANDOM = tuple(sorted(CORRUPTIONS.keys() - set(DETERMINISTIC)))
BY_IMAGEMAGICK = ("motion_blur", "snow")
BY_SCRIPTS = ("frost", "elastic_transform")
WAND = imagenet_c.MagickWand.find()
REPEATS = 12


@cache
def photographs() -> dict[str, np.ndarray]:
    """A face, a cat, a cup and a rocket: uint8 (224, 224, 3)."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    return {name: fitted(getattr(skimage.data, name)(), SIZE) for name in names}


def fitted(image: np.ndarray, size: int) -> np.ndarray:
    """The centre square of an image, resized."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def ours(image: np.ndarray, name: str, severity: int, sample: str = SAMPLE) -> np.ndarray:
    return corrupt(torch.from_numpy(image.copy())[None], name, severity, [sample], 0)[0].numpy()


def draws(name: str, severity: int) -> SampleNoise:
    """The random numbers that ours takes."""
    return SampleNoise(0, name, severity, [SAMPLE], torch.device("cpu"))


def peers(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    return np.uint8(getattr(peer, name)(Image.fromarray(image), severity))


def within_one_level(first: np.ndarray, second: np.ndarray) -> float:
    """The share of values of two images, each of a pixel and a channel, that are at most one grey level apart."""
    return float((np.abs(first.astype(int) - second.astype(int)) <= 1).mean())


def expected(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    """The reference's image; of a random corruption, that with our random numbers, where there is a way to give them.

    Images have 224 px; for snow, frost and elastic transform they may have another size.
    """
    if name in DETERMINISTIC:
        return peers(image, name, severity)
    return WITH_OUR_NUMBERS[name](image, name, severity)


def _normal_noise(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    numbers = draws(name, severity).normal((SIZE, SIZE, 3))[0].numpy().astype(float)
    with patch.object(np.random, "normal", lambda size, scale: numbers * scale):
        return peers(image, name, severity)


def _shot_noise(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    numbers = draws(name, severity).uniform((SIZE, SIZE, 3))[0].numpy().astype(float)
    with patch.object(np.random, "poisson", lambda rates: stats.poisson.ppf(numbers, rates).clip(0)):
        return peers(image, name, severity)


def _glass_blur(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    _, reach, rounds = CORRUPTIONS[name].arguments(SIZE, severity)
    noise = draws(name, severity)
    grids = [(noise.uniform((2, SIZE * SIZE), n)[0] * 2 * reach).floor().long() - reach for n in range(rounds)]
    turns = [(row, column) for row in range(SIZE - reach, reach, -1) for column in range(SIZE - reach, reach, -1)]
    offsets = iter([grid[:, row * SIZE + column].tolist() for grid in grids for row, column in turns])
    with (
        patch.object(np.random, "randint", lambda low, high, size: next(offsets)),
        patch.object(np.random, "seed", lambda seed: None),
        patch.object(peer, "_shuffle_pixels_njit_glass_blur", peer._shuffle_pixels_njit_glass_blur.py_func),
    ):
        blurred = peers(image, name, severity)
    assert next(offsets, None) is None
    return blurred


def _fog(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    numbers = iter((draws(name, severity).uniform((65535,))[0].double() * 2 - 1).tolist())

    def uniform(low, high, shape):
        assert low == -high
        return high * np.array([next(numbers) for _ in range(int(np.prod(shape)))]).reshape(shape)

    with patch.object(np.random, "uniform", uniform):
        foggy = peers(image, name, severity)
    assert next(numbers, None) is None
    return foggy


def _spatter(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    numbers = draws(name, severity).normal((1, SIZE, SIZE))[0, 0].numpy().astype(float)
    with patch.object(np.random, "normal", lambda size, loc, scale: loc + scale * numbers):
        return peers(image, name, severity)


def _motion_blur(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    angle = float(draws(name, severity).uniform(()).double()) * 90 - 45
    return WAND.motion_blur(image, *CORRUPTIONS[name].arguments(SIZE, severity), angle)


def _snow(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    noise, size = draws(name, severity), len(image)
    normal, angle = noise.normal((1, size, size))[0, 0].numpy(), float(noise.uniform((), 1).double()) * 90 - 135
    constants = CORRUPTIONS[name].arguments(size, severity)
    return imagenet_c.snow(image, constants, normal, angle, WAND.motion_blur).astype(np.uint8)


def _frost(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    which, top, left = draws(name, severity).uniform((3,))[0].double().tolist()
    picture = FROST / list(PICTURES)[int(which * 5)]
    constants = CORRUPTIONS[name].arguments(len(image), severity)
    return imagenet_c.frost(image, constants, picture, top, left).astype(np.uint8)


def _elastic_transform(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    noise, size = draws(name, severity), len(image)
    jitters = noise.uniform((3, 2))[0].numpy() * 2 - 1
    shifts = noise.uniform((2, size, size), 1)[0].numpy() * 2 - 1
    constants = CORRUPTIONS[name].arguments(size, severity)
    return imagenet_c.elastic_transform(image, constants, jitters, shifts).astype(np.uint8)


WITH_OUR_NUMBERS: dict[str, Callable[[np.ndarray, str, int], np.ndarray]] = {
    "gaussian_noise": _normal_noise,
    "speckle_noise": _normal_noise,
    "shot_noise": _shot_noise,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "spatter": _spatter,
    "elastic_transform": _elastic_transform,
}


def reference(image: np.ndarray, name: str, severity: int, run: int) -> np.ndarray:
    """The reference with random numbers of its own."""
    np.random.seed(1000 * severity + run)
    constants = CORRUPTIONS[name].arguments(SIZE, severity)
    if name in ("impulse_noise", "glass_blur"):
        return np.uint8(getattr(peer, name)(Image.fromarray(image), severity, seed=run))
    if name == "motion_blur":
        return WAND.motion_blur(image, *constants, np.random.uniform(-45, 45))
    if name == "snow":
        angle = np.random.uniform(-135, -45)
        return imagenet_c.snow(image, constants, np.random.normal(size=(SIZE, SIZE)), angle, WAND.motion_blur).astype(
            np.uint8
        )
    if name == "frost":
        picture = FROST / list(PICTURES)[np.random.randint(5)]
        return imagenet_c.frost(image, constants, picture, *np.random.uniform(size=2)).astype(np.uint8)
    if name == "elastic_transform":
        jitters, shifts = np.random.uniform(-1, 1, (3, 2)), np.random.uniform(-1, 1, (2, SIZE, SIZE))
        return imagenet_c.elastic_transform(image, constants, jitters, shifts).astype(np.uint8)
    return peers(image, name, severity)


def statistics(corrupted: np.ndarray, image: np.ndarray) -> dict[str, float]:
    """What defines a random corruption: moments, spectrum, histogram, share changed, correlation of neighbours."""
    residual = corrupted.astype(float) - image
    grey = residual.mean(-1)
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))
    bands = np.digitize(frequency, [0.02, 0.06, 0.15, 0.3])
    shares = np.histogram(corrupted, bins=8, range=(0, 256))[0] / corrupted.size
    columns, rows = grey[:, :-1].ravel(), grey[:-1].ravel()
    return {
        "mean": residual.mean(),
        "deviation": residual.std(),
        "skewness": stats.skew(residual, axis=None),
        "share changed": (residual != 0).mean(),
        "correlation across": np.corrcoef(columns, grey[:, 1:].ravel())[0, 1],
        "correlation down": np.corrcoef(rows, grey[1:].ravel())[0, 1],
        **{f"log power, band {band}": np.log(power[bands == band].mean()) for band in range(5)},
        **{f"histogram, bin {number}": share for number, share in enumerate(shares)},
    }


def statistics_of_runs(name: str, severity: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each statistic of a dozen runs on one photograph: the reference's and ours."""
    image = photographs()["astronaut"]
    theirs = [statistics(reference(image, name, severity, run), image) for run in range(REPEATS)]
    own = [statistics(ours(image, name, severity, f"run-{run}"), image) for run in range(REPEATS)]
    return {key: tuple(np.array([run[key] for run in runs]) for runs in (theirs, own)) for key in theirs[0]}


def tolerance(theirs: np.ndarray, own: np.ndarray) -> float:
    """How far the means of a statistic may be apart.

    The standard error of the difference of two means of a dozen runs, five times; 1,000 comparisons are made. The floor
    is for what does not vary: rounding errors of the reference tip values over whole levels.
    """
    return 5 * np.sqrt((theirs.var(ddof=1) + own.var(ddof=1)) / REPEATS) + 0.005 * max(1, abs(theirs.mean()))
