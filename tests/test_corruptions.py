import colorsys
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from withstand import jpeg
from withstand.corruptions import digital, filters, registry
from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES, nearest_size
from withstand.corruptions.registry import corrupt
from withstand.errors import WithstandError

LARGE = 224


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A smooth picture of 224 px with edges: uint8 (1, 224, 224, 3)."""
    y, x = np.mgrid[0:LARGE, 0:LARGE] / LARGE
    channels = [0.5 + 0.4 * np.sin(9 * x + phase) * np.cos(7 * y) for phase in (0, 1, 2)]
    image = np.stack(channels, -1)
    image[60:120, 80:150] = (0.9, 0.2, 0.1)
    return (image * 255).astype(np.uint8)[None]


def apply(images, name, severity, ids=None, seed=0):
    ids = ids or [f"sample-{number}" for number in range(len(images))]
    return corrupt(torch.from_numpy(images), name, severity, ids, seed).numpy()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_dtype_and_input_are_kept(pictures, name):
    before = pictures.copy()
    for severity in SEVERITIES:
        corrupted = apply(pictures, name, severity)
        assert corrupted.shape == pictures.shape
        assert corrupted.dtype == np.uint8
        assert not np.array_equal(corrupted, pictures)
    assert np.array_equal(pictures, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_sample_gets_the_same_pixels_in_any_batch(pictures, picture_ids, name):
    together = apply(pictures, name, 3, picture_ids)
    order = [5, 0, 11, 3]
    some = apply(pictures[order], name, 3, [picture_ids[index] for index in order])
    alone = apply(pictures[7:8], name, 3, picture_ids[7:8])
    assert np.array_equal(together[order], some)
    assert np.array_equal(together[7:8], alone)


IN_KIND = {"elastic_transform", "saturate"}
"""Their severities differ in kind: coarse and fine displacements, less and more saturation."""

ROUGHLY = {"glass_blur", "snow", "frost", "fog"}
"""Their neighbouring severities trade one constant for another."""


@pytest.mark.parametrize("name", sorted(CORRUPTIONS.keys() - IN_KIND))
def test_damage_grows_with_severity(photograph, name):
    copies = photograph.repeat(16, axis=0)
    damage = [np.abs(apply(copies, name, severity).astype(int) - copies).mean() for severity in SEVERITIES]
    assert 0 < damage[0] < damage[4]
    assert name in ROUGHLY or damage == sorted(damage)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_number_of_threads_does_not_matter(photograph, name):
    threads = torch.get_num_threads()
    results = []
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        results.append(apply(photograph, name, 3))
    torch.set_num_threads(threads)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def digests(images: np.ndarray, ids: list[str]) -> dict[str, str]:
    """A digest of each corruption's result."""
    return {name: hashlib.sha256(apply(images, name, 4, ids)).hexdigest() for name in CORRUPTIONS}


WORKER = """
import json, sys
import numpy as np
from test_corruptions import digests
path, *ids = sys.argv[1:]
print(json.dumps(digests(np.load(path), ids)))
"""


def test_a_worker_makes_the_same_pixels(pictures, picture_ids, tmp_path):
    path = tmp_path / "pictures.npy"
    np.save(path, pictures)
    command = [sys.executable, "-c", WORKER, path, *picture_ids]
    answer = subprocess.run(command, cwd=Path(__file__).parent, check=True, capture_output=True, text=True)
    assert json.loads(answer.stdout) == digests(pictures, picture_ids)


def assert_nearly_equal(first: np.ndarray, second: np.ndarray) -> None:
    """Equal but for rounding errors, which tip a value over a whole level now and then."""
    difference = np.abs(first.astype(int) - second)
    assert (difference <= 1).mean() > 0.999
    assert (difference == 0).mean() > 0.99


@pytest.mark.parametrize("severity", (1, 3, 5))
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_many_at_once_as_on_a_gpu(monkeypatch, pictures, picture_ids, name, severity):
    one_by_one = apply(pictures, name, severity, picture_ids)
    monkeypatch.setitem(registry.CHUNK, "cpu", 5)
    assert_nearly_equal(apply(pictures, name, severity, picture_ids), one_by_one)


@pytest.mark.parametrize("shape", [(224, 224), (64, 64), (299, 299), (384, 384), (75, 50), (17, 40), (300, 260)])
def test_scaling_down_without_pillow_is_pillows(shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    images[1, ::2] = 255
    for share in (0.25, 0.3, 1 / 3, 0.4, 0.5, 0.6, 0.65, 0.75, 0.85, 0.9, 0.95, 1):
        size = tuple(int(side * share) for side in shape)
        expected = [Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX) for image in images]
        assert np.array_equal(digital.box_scaled(torch.from_numpy(images), size), np.stack(expected)), share


@pytest.mark.parametrize("radius, sigma", [(10, 3), (15, 8), (20, 15), (12, 12)])
def test_motion_blur_by_kernels_is_that_by_slices(photograph, monkeypatch, radius, sigma):
    """What GPUs do, on a CPU: sums in another order cut off at whole levels."""
    planes = torch.from_numpy(photograph.repeat(5, 0)).permute(0, 3, 1, 2).float()
    angles = [-135.0, -44.5, 0.0, 7.25, 45.0]
    expected = filters.motion_blur(planes, radius, sigma, angles)
    monkeypatch.setattr(filters, "_along_by_slices", filters._along_by_kernels)
    apart = (filters.motion_blur(planes, radius, sigma, angles) - expected).abs()
    assert apart.max() <= 1 and (apart > 0).float().mean() < 1e-3


@pytest.mark.gpu
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_gpu_makes_nearly_the_same_pixels(photograph, name, severity):
    images = photograph.repeat(3, axis=0)
    ids = ["a", "b", "c"]
    together = corrupt(torch.from_numpy(images).cuda(), name, severity, ids, 0)
    assert_nearly_equal(together.cpu().numpy(), apply(images, name, severity, ids))
    alone = corrupt(torch.from_numpy(images[1:2]).cuda(), name, severity, ids[1:2], 0)
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(16, 16), (17, 40), (75, 50), (300, 260)])
def test_images_of_any_size(name, shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    corrupted = apply(images, name, 5)
    assert corrupted.shape == images.shape
    assert not np.array_equal(corrupted, images)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_black_white_and_grey_images(name):
    images = np.stack([np.full((64, 64, 3), value, dtype=np.uint8) for value in (0, 128, 255)])
    for severity in SEVERITIES:
        corrupted = apply(images, name, severity).astype(int)
        assert corrupted[0].mean() <= corrupted[1].mean() + 1 <= corrupted[2].mean() + 2


def test_gaussian_noise_has_its_moments(photograph):
    grey = np.full((4, LARGE, LARGE, 3), 128, dtype=np.uint8)
    residual = (apply(grey, "gaussian_noise", 1).astype(float) - 128) / 255
    # 600,000 numbers: the standard error of the mean is 1e-4, of the deviation 7e-5; cutting off adds half a level
    assert residual.mean() == pytest.approx(-0.5 / 255, abs=5e-4)
    assert residual.std() == pytest.approx(0.08, abs=5e-4)
    assert abs(stats.skew(residual.ravel())) < 0.02
    assert abs(np.corrcoef(residual[:, :, :-1, 0].ravel(), residual[:, :, 1:, 0].ravel())[0, 1]) < 0.01


def test_noise_depends_on_seed_sample_and_severity(pictures):
    one = pictures[:1]
    variants = [apply(one, "gaussian_noise", 1, [name], seed) for name, seed in (("a", 0), ("b", 0), ("a", 1))]
    assert not np.array_equal(variants[0], variants[1])
    assert not np.array_equal(variants[0], variants[2])


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("size", [64, 224])
def test_defocus_blur_against_scipy(pictures, photograph, severity, size):
    image = pictures[0] if size == 64 else photograph[0]
    radius, sigma = CORRUPTIONS["defocus_blur"].arguments(size, severity)
    # the original's recipe: a disk on a grid, then cv2.GaussianBlur, whose border mirrors
    half, taps = (8, 3) if radius <= 8 else (radius, 5)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disk = (x**2 + y**2 <= radius**2).astype(float)
    weights = stats.norm.pdf(np.arange(taps) - taps // 2, scale=sigma)
    kernel = disk / disk.sum()
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, weights / weights.sum(), axis=axis, mode="mirror")
    blurred = np.stack([ndimage.correlate(image[..., c] / 255, kernel, mode="mirror") for c in range(3)], -1)
    difference = apply(image[None], "defocus_blur", severity)[0].astype(int) - (blurred * 255).astype(int)
    # float32 against float64, both cut off: one level at most
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_against_colorsys(pictures, severity):
    pixels = pictures[:2, ::5, ::5].copy()
    pixels[0, 0, 0] = 0
    added = CORRUPTIONS["brightness"].arguments(64, severity)[0]

    def reference(rgb):
        hue, saturation, value = colorsys.rgb_to_hsv(*(rgb / 255))
        return np.array(colorsys.hsv_to_rgb(hue, saturation, min(value + added, 1))) * 255

    expected = np.apply_along_axis(reference, -1, pixels)
    from withstand.corruptions.weather import brightness

    result = brightness(torch.from_numpy(pixels), None, added).numpy()
    assert np.abs(result - np.floor(expected)).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_against_numpy(pictures, severity):
    factor = CORRUPTIONS["contrast"].arguments(64, severity)[0]
    unit = pictures / 255.0
    means = unit.mean(axis=(1, 2), keepdims=True)
    expected = (np.clip((unit - means) * factor + means, 0, 1) * 255).astype(np.uint8)
    assert np.abs(apply(pictures, "contrast", severity).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_is_pillows(pictures, severity):
    buffer = io.BytesIO()
    Image.fromarray(pictures[3]).save(
        buffer, "JPEG", quality=CORRUPTIONS["jpeg_compression"].arguments(64, severity)[0]
    )
    assert np.array_equal(apply(pictures, "jpeg_compression", severity)[3], np.asarray(Image.open(buffer)))


@pytest.fixture
def no_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    jpeg.opencv.cache_clear()
    yield
    jpeg.opencv.cache_clear()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_without_opencv_has_the_same_pixels(request, pictures, photograph, severity):
    images = (pictures, photograph)
    expected = [apply(batch, "jpeg_compression", severity) for batch in images]
    request.getfixturevalue("no_opencv")
    assert jpeg.opencv() is None
    assert all(
        np.array_equal(apply(batch, "jpeg_compression", severity), pixels)
        for batch, pixels in zip(images, expected, strict=True)
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_only_spatter_needs_opencv(no_opencv, pictures, name):
    if name != "spatter":
        apply(pictures[:2], name, 1)
        return
    with pytest.raises(WithstandError, match="spatter needs OpenCV, which cannot be loaded here"):
        apply(pictures[:2], name, 1)


def test_a_severity_of_numpy_is_a_whole_number(pictures):
    assert np.array_equal(apply(pictures, "gaussian_noise", np.int64(3)), apply(pictures, "gaussian_noise", 3))


def test_constants_are_those_of_the_nearest_size():
    noise = CORRUPTIONS["gaussian_noise"]
    nearest = {16: 32, 40: 32, 64: 64, 96: 64, 144: 64, 160: 224, 384: 224}
    assert {size: nearest_size(noise.constants, size) for size in nearest} == nearest
    assert noise.arguments(224, 5) == (0.38,)
    assert noise.arguments(32, 1) == (0.04,)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_has_five_severities_at_every_size(name):
    assert {size: len(rows) for size, rows in CORRUPTIONS[name].constants.items()} == {224: 5, 64: 5, 32: 5}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"severity": 6}, "severity 6"),
        ({"severity": 0}, "severity 0"),
        ({"sample_ids": ["a"]}, "12 images but 1 sample ids"),
        ({"name": "gausian_noise"}, "did you mean 'gaussian_noise'"),
        ({"images": torch.zeros(12, 64, 64, 3)}, "expected uint8"),
        ({"images": torch.zeros(12, 3, 64, 64, dtype=torch.uint8)}, "expected uint8"),
        ({"images": torch.zeros(12, 64, 64, 1, dtype=torch.uint8)}, "red, green and blue"),
        ({"images": torch.zeros(12, 64, 64, 4, dtype=torch.uint8)}, "red, green and blue"),
        ({"images": torch.zeros(12, 64, 64, dtype=torch.uint8)}, "expected uint8"),
        ({"images": torch.zeros(12, 64, 15, 3, dtype=torch.uint8)}, "64 x 15 pixels are too small"),
        ({"images": np.zeros((12, 64, 64, 3), np.uint8)}, r"a numpy\.ndarray, expected .* by torch\.from_numpy"),
        ({"images": [[0]]}, r"^images are a list, expected a uint8 tensor \(n, height, width, 3\)$"),
        ({"images": None}, r"^images are a NoneType, expected a uint8 tensor"),
        ({"severity": 1.0}, r"^severity 1\.0 is not one of the whole numbers \(1, 2, 3, 4, 5\)$"),
        ({"severity": True}, "^severity True is not one of the whole numbers"),
        ({"severity": "1"}, "^severity '1' is not one of the whole numbers"),
        ({"severity": [1]}, r"^severity \[1\] is not one of the whole numbers"),
    ],
)
def test_wrong_arguments_are_refused(pictures, picture_ids, arguments, error):
    right = {
        "images": torch.from_numpy(pictures),
        "name": "contrast",
        "severity": 1,
        "sample_ids": picture_ids,
        "seed": 0,
    }
    with pytest.raises(ValueError, match=error):
        corrupt(**right | arguments)
