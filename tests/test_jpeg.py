"""JPEG files by OpenCV: Pillow's pixels, or Pillow itself."""

import io

import numpy as np
import pytest
from PIL import Image

from photographs import photographs
from withstand import jpeg
from withstand.datasets.decoding import UnreadableImageError, decode, pixels


def encoded(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in list(photographs())[:6]]


@pytest.mark.parametrize("quality", [10, 50, 85, 95, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_are_pillows(pictures, quality, subsampling, progressive):
    for image in [*pictures, pictures[0].resize((31, 17)), pictures[1].resize((1, 1))]:
        data = encoded(image, quality=quality, subsampling=subsampling, progressive=progressive)
        assert np.array_equal(jpeg.decode(data), np.asarray(Image.open(io.BytesIO(data))))


def test_files_as_they_were_taken():
    for path in photographs():
        data = path.read_bytes()
        assert np.array_equal(pixels(data), np.asarray(decode(data)))


def test_rotation_by_exif_is_left_to_nobody(pictures):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(pictures[0], exif=exif)
    assert np.array_equal(jpeg.decode(data), np.asarray(Image.open(io.BytesIO(data))))


def others(image: Image.Image) -> dict[str, bytes]:
    whole, png = encoded(image), io.BytesIO()
    image.save(png, "PNG")
    adobe = whole[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + whole[2:]
    return {
        "grey": encoded(image.convert("L")),
        "CMYK": encoded(image.convert("CMYK")),
        "RGB by Adobe's marker": adobe,
        "something behind its end": whole + b"\0\0",
        "PNG": png.getvalue(),
    }


def test_what_may_differ_is_read_by_pillow(pictures):
    for name, data in others(pictures[0]).items():
        assert jpeg.decode(data) is None, name
        assert np.array_equal(pixels(data), np.asarray(decode(data))), name


@pytest.mark.parametrize("kept", [0, 1, 2, 20, 300, 5000, -2, -1])
def test_files_that_are_cut_off_are_refused_as_before(pictures, kept):
    data = encoded(pictures[0])[:kept]
    with pytest.raises(UnreadableImageError):
        pixels(data)


def test_more_pixels_than_pillow_takes_are_left_to_it(pictures, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert jpeg.decode(encoded(pictures[0])) is None


def test_damaged_data_gives_what_pillow_makes_of_it(pictures):
    """Bytes behind the headers are changed at random: the same pixels, or an error on both sides."""
    random = np.random.default_rng(0)
    data = encoded(pictures[0].resize((160, 120)))
    for _ in range(200):
        damaged = bytearray(data)
        for place in random.integers(2, len(data) - 2, size=random.integers(1, 4)):
            damaged[place] = random.integers(0, 256)
        results = []
        for function in (pixels, lambda given: np.asarray(decode(given))):
            try:
                results.append(function(bytes(damaged)))
            except UnreadableImageError:
                results.append(None)
        ours, pillows = results
        assert (ours is None) == (pillows is None)
        assert ours is None or np.array_equal(ours, pillows)
