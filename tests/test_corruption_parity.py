"""Corruptions against other implementations, at 224 px on photographs.

imagecorruptions 1.1.5 is the reference; where it departs from the ImageNet-C scripts (motion blur, snow, frost,
elastic transform), a transcription of those, with ImageMagick where they use it. Random corruptions are compared in two
ways: pixel by pixel when the reference is given our random numbers, and by their statistics when it draws its own.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import corrupt_tta
import cv2
import imagenet_c
import numpy as np
import pytest
import skimage.data
import torch
from imagecorruptions import corruptions as peer
from PIL import Image
from scipy import stats

from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES
from withstand.corruptions.digital import pixelate
from withstand.corruptions.frost_pictures import PICTURES, _photograph
from withstand.corruptions.pixels import SampleNoise
from withstand.corruptions.registry import corrupt

SIZE = 224
SAMPLE = "photograph"
FROST = Path(corrupt_tta.__file__).parent / "assets" / "frost"
DETERMINISTIC = [
    "defocus_blur",
    "zoom_blur",
    "gaussian_blur",
    "brightness",
    "saturate",
    "contrast",
    "pixelate",
    "jpeg_compression",
]
WAND = imagenet_c.MagickWand.find()
needs_magick = pytest.mark.skipif(WAND is None, reason="no ImageMagick (Debian: libmagickwand-6.q16-6)")


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


def assert_same(first: np.ndarray, second: np.ndarray, share: float = 0.995) -> None:
    """Within one grey level for at least ``share`` of the values, and nearly equal on average.

    Both cut off fractions, but the reference's rounding errors put some whole levels just below themselves first.
    """
    difference = first.astype(int) - second.astype(int)
    assert (np.abs(difference) <= 1).mean() >= share
    assert abs(difference.mean()) < 0.15


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_corruptions(name, severity):
    for image in photographs().values():
        assert_same(ours(image, name, severity), peers(image, name, severity))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_is_pillows_box_filter(severity):
    share = CORRUPTIONS["pixelate"].arguments(SIZE, severity)[0]
    for size in (SIZE, 75, 64):
        image = fitted(skimage.data.chelsea(), size)
        small = Image.fromarray(image).resize((int(size * share),) * 2, Image.Resampling.BOX)
        expected = np.asarray(small.resize((size, size), Image.Resampling.BOX))
        assert np.array_equal(pixelate(torch.from_numpy(image.copy())[None], None, share)[0].numpy(), expected)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_normal_noise_with_the_same_numbers(monkeypatch, name, severity):
    numbers = draws(name, severity).normal((SIZE, SIZE, 3))[0].numpy()
    monkeypatch.setattr(np.random, "normal", lambda size, scale: numbers.astype(float) * scale)
    for image in photographs().values():
        assert_same(ours(image, name, severity), peers(image, name, severity))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shot_noise_with_the_same_numbers(monkeypatch, severity):
    numbers = draws("shot_noise", severity).uniform((SIZE, SIZE, 3))[0].numpy().astype(float)
    monkeypatch.setattr(np.random, "poisson", lambda rates: stats.poisson.ppf(numbers, rates).clip(0))
    for image in photographs().values():
        assert_same(ours(image, "shot_noise", severity), peers(image, "shot_noise", severity), share=0.9999)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_with_the_same_offsets(monkeypatch, severity):
    _, reach, rounds = CORRUPTIONS["glass_blur"].arguments(SIZE, severity)
    noise = draws("glass_blur", severity)
    grids = [(noise.uniform((2, SIZE * SIZE), n)[0] * 2 * reach).floor().long() - reach for n in range(rounds)]
    turns = [(row, column) for row in range(SIZE - reach, reach, -1) for column in range(SIZE - reach, reach, -1)]
    offsets = iter([grid[:, row * SIZE + column].tolist() for grid in grids for row, column in turns])
    monkeypatch.setattr(np.random, "randint", lambda low, high, size: next(offsets))
    monkeypatch.setattr(np.random, "seed", lambda seed: None)
    monkeypatch.setattr(peer, "_shuffle_pixels_njit_glass_blur", peer._shuffle_pixels_njit_glass_blur.py_func)
    image = photographs()["chelsea"]
    assert_same(ours(image, "glass_blur", severity), peers(image, "glass_blur", severity))
    assert next(offsets, None) is None


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_with_the_same_numbers(monkeypatch, severity):
    numbers = iter((draws("fog", severity).uniform((65535,))[0].double() * 2 - 1).tolist())

    def uniform(low, high, shape):
        assert low == -high
        return high * np.array([next(numbers) for _ in range(int(np.prod(shape)))]).reshape(shape)

    monkeypatch.setattr(np.random, "uniform", uniform)
    image = photographs()["coffee"]
    assert_same(ours(image, "fog", severity), peers(image, "fog", severity))
    assert next(numbers, None) is None


@pytest.mark.parametrize("severity", SEVERITIES)
def test_spatter_with_the_same_numbers(monkeypatch, severity):
    numbers = draws("spatter", severity).normal((1, SIZE, SIZE))[0, 0].numpy()
    monkeypatch.setattr(np.random, "normal", lambda size, loc, scale: loc + scale * numbers.astype(float))
    for image in photographs().values():
        # drops are cut off to whole levels before they are searched for edges, where rounding errors may tip a level
        assert_same(ours(image, "spatter", severity), peers(image, "spatter", severity), share=0.99)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_draws_its_share(severity):
    amount = CORRUPTIONS["impulse_noise"].arguments(SIZE, severity)[0]
    grey = np.full((SIZE, SIZE, 3), 100, dtype=np.uint8)
    noisy = ours(grey, "impulse_noise", severity)
    assert set(np.unique(noisy)) == {0, 100, 255}
    for value in (0, 255):  # each with half of the amount
        expected, count = amount / 2, noisy.size
        assert abs((noisy == value).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / count)


@needs_magick
@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_is_imagemagicks(severity):
    radius, sigma = CORRUPTIONS["motion_blur"].arguments(SIZE, severity)
    angle = float(draws("motion_blur", severity).uniform(()).double()) * 90 - 45
    for image in photographs().values():
        assert_same(ours(image, "motion_blur", severity), WAND.motion_blur(image, radius, sigma, angle), share=1)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_is_imagecorruptions_inside_the_border(monkeypatch, severity):
    angle = float(draws("motion_blur", severity).uniform(()).double()) * 90 - 45
    monkeypatch.setattr(np.random, "uniform", lambda low, high: angle)
    reach = 2 * CORRUPTIONS["motion_blur"].arguments(SIZE, severity)[0] + 1
    inside = np.s_[reach:-reach, reach:-reach]
    for image in photographs().values():
        assert_same(
            ours(image, "motion_blur", severity)[inside], peers(image, "motion_blur", severity)[inside], share=1
        )


@needs_magick
@pytest.mark.parametrize("size", [SIZE, 64])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_with_the_same_numbers(severity, size):
    noise = draws("snow", severity)
    normal, angle = noise.normal((1, size, size))[0, 0].numpy(), float(noise.uniform((), 1).double()) * 90 - 135
    constants = CORRUPTIONS["snow"].arguments(size, severity)
    for image in photographs().values():
        small = fitted(image, size)
        expected = imagenet_c.snow(small, constants, normal, angle, WAND.motion_blur).astype(np.uint8)
        assert_same(ours(small, "snow", severity), expected)


@pytest.mark.parametrize("size", [SIZE, 64, 32])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_with_the_same_numbers(severity, size):
    which, top, left = draws("frost", severity).uniform((3,))[0].double().tolist()
    picture = FROST / list(PICTURES)[int(which * 5)]
    constants = CORRUPTIONS["frost"].arguments(size, severity)
    for image in photographs().values():
        small = fitted(image, size)
        expected = imagenet_c.frost(small, constants, picture, top, left).astype(np.uint8)
        assert_same(ours(small, "frost", severity), expected)


def test_photographs_of_frost_are_read_as_by_opencv():
    for name in PICTURES:
        assert_same(_photograph(name), cv2.imread(str(FROST / name))[..., ::-1], share=1)


@pytest.mark.parametrize("size", [SIZE, 64, 32])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_transform_with_the_same_numbers(severity, size):
    noise = draws("elastic_transform", severity)
    jitters = noise.uniform((3, 2))[0].numpy() * 2 - 1
    shifts = noise.uniform((2, size, size), 1)[0].numpy() * 2 - 1
    constants = CORRUPTIONS["elastic_transform"].arguments(size, severity)
    for image in photographs().values():
        small = fitted(image, size)
        expected = imagenet_c.elastic_transform(small, constants, jitters, shifts).astype(np.uint8)
        # float32 coordinates against OpenCV's
        assert_same(ours(small, "elastic_transform", severity), expected, share=0.98)


RANDOM = sorted(CORRUPTIONS.keys() - set(DETERMINISTIC))
BY_IMAGEMAGICK = {"motion_blur", "snow"}
REPEATS = 12


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


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_magick) if name in BY_IMAGEMAGICK else name for name in RANDOM]
)
def test_statistics_of_random_corruptions(name, severity):
    image = photographs()["astronaut"]
    runs = [statistics(reference(image, name, severity, run), image) for run in range(REPEATS)]
    own = [statistics(ours(image, name, severity, f"run-{run}"), image) for run in range(REPEATS)]
    for statistic in runs[0]:
        theirs, ours_ = (np.array([values[statistic] for values in group]) for group in (runs, own))
        # the standard error of the difference of two means of a dozen runs, five times; 1,000 comparisons are made.
        # The floor is for what does not vary: rounding errors of the reference tip values over whole levels.
        tolerance = 5 * np.sqrt((theirs.var(ddof=1) + ours_.var(ddof=1)) / REPEATS) + 0.005 * max(1, abs(theirs.mean()))
        assert abs(theirs.mean() - ours_.mean()) < tolerance, statistic
