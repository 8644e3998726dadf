"""Corruptions against other implementations, at 224 px on photographs (see ``corruption_references``)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from corruption_references import (
    BY_IMAGEMAGICK,
    DETERMINISTIC,
    FROST,
    RANDOM,
    SIZE,
    WAND,
    WITH_OUR_NUMBERS,
    draws,
    expected,
    fitted,
    ours,
    peers,
    photographs,
    statistics_of_runs,
    tolerance,
    within_one_level,
)
from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES
from withstand.corruptions.digital import pixelate
from withstand.corruptions.frost_pictures import PICTURES, _photograph

needs_magick = pytest.mark.skipif(WAND is None, reason="no ImageMagick (Debian: libmagickwand-6.q16-6)")

SHARES = {
    "shot_noise": 0.9999,
    "motion_blur": 1,
    # drops are cut off to whole levels before they are searched for edges, where rounding errors may tip a level
    "spatter": 0.99,
    # float32 coordinates against OpenCV's
    "elastic_transform": 0.98,
}
"""Shares of values within one grey level that are not the usual one."""


def marked(names) -> list:
    """Those that ImageMagick defines can be tested where it is installed."""
    return [pytest.param(name, marks=needs_magick) if name in BY_IMAGEMAGICK else name for name in names]


def assert_same(first: np.ndarray, second: np.ndarray, share: float = 0.995) -> None:
    """Within one grey level for at least ``share`` of the values, and nearly equal on average.

    Both cut off fractions, but the reference's rounding errors put some whole levels just below themselves first.
    """
    assert within_one_level(first, second) >= share
    assert abs((first.astype(int) - second.astype(int)).mean()) < 0.15


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_corruptions(name, severity):
    for image in photographs().values():
        assert_same(ours(image, name, severity), expected(image, name, severity))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_is_pillows_box_filter(severity):
    share = CORRUPTIONS["pixelate"].arguments(SIZE, severity)[0]
    for size in (SIZE, 75, 64):
        image = fitted(skimage.data.chelsea(), size)
        small = Image.fromarray(image).resize((int(size * share),) * 2, Image.Resampling.BOX)
        enlarged = np.asarray(small.resize((size, size), Image.Resampling.BOX))
        assert np.array_equal(pixelate(torch.from_numpy(image.copy())[None], None, share)[0].numpy(), enlarged)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", marked(WITH_OUR_NUMBERS))
def test_random_corruptions_with_the_same_numbers(name, severity):
    for image in photographs().values():
        assert_same(ours(image, name, severity), expected(image, name, severity), SHARES.get(name, 0.995))


@pytest.mark.parametrize("size", [64, 32])
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", marked(["snow", "frost", "elastic_transform"]))
def test_small_images_with_the_same_numbers(name, severity, size):
    for image in photographs().values():
        small = fitted(image, size)
        assert_same(ours(small, name, severity), expected(small, name, severity), SHARES.get(name, 0.995))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_draws_its_share(severity):
    amount = CORRUPTIONS["impulse_noise"].arguments(SIZE, severity)[0]
    grey = np.full((SIZE, SIZE, 3), 100, dtype=np.uint8)
    noisy = ours(grey, "impulse_noise", severity)
    assert set(np.unique(noisy)) == {0, 100, 255}
    for value in (0, 255):  # each with half of the amount
        share, count = amount / 2, noisy.size
        assert abs((noisy == value).mean() - share) < 4 * np.sqrt(share * (1 - share) / count)


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


def test_photographs_of_frost_are_read_as_by_opencv():
    for name in PICTURES:
        assert_same(_photograph(name), cv2.imread(str(FROST / name))[..., ::-1], share=1)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", marked(RANDOM))
def test_statistics_of_random_corruptions(name, severity):
    for statistic, (theirs, own) in statistics_of_runs(name, severity).items():
        assert abs(theirs.mean() - own.mean()) < tolerance(theirs, own), statistic
