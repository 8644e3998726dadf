"""Digital corruptions."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from withstand import jpeg
from withstand.corruptions import filters
from withstand.corruptions.pixels import SampleNoise, from_planes, to_bytes, to_planes, to_unit


def contrast(images: torch.Tensor, noise: SampleNoise, factor: float) -> torch.Tensor:
    """Shrink the differences from each channel's mean over the image."""
    means = images.sum(dim=(1, 2), keepdim=True).double() / (255 * images.shape[1] * images.shape[2])
    return to_bytes(to_unit(images).mul_(factor).add_((means * (1 - factor)).float()))


def saturate(images: torch.Tensor, noise: SampleNoise, factor: float, added: float) -> torch.Tensor:
    """Scale and shift the S channel of HSV, clipped to [0, 1]; hue and value stay.

    At fixed hue and value, a channel's distance from the value is proportional to the saturation. Quirk of the
    original: greys have hue 0, so they turn red where something is added.
    """
    colours = to_planes(to_unit(images))
    value = colours.amax(dim=1, keepdim=True)
    chroma = value - colours.amin(dim=1, keepdim=True)
    grey = (chroma == 0).float()
    saturation = chroma / (value + (value == 0))
    changed = saturation.mul(factor).add_(added).clamp_(0, 1)
    distance = (value - colours).mul_(changed / (saturation + grey))
    distance[:, 1:] += grey * changed * value
    return to_bytes(from_planes(value - distance))


def elastic_transform(
    images: torch.Tensor, noise: SampleNoise, alpha: float, sigma: float, jitter: float
) -> torch.Tensor:
    """A random affine map, then displacements: uniform noise blurred by ``sigma`` and scaled by ``alpha`` pixels.

    The affine map moves three points, a third of the shorter side from the centre, by up to ``jitter`` pixels in both
    directions. Both steps sample bilinearly; the first mirrors the border without repeating the edge pixel, the second
    with it. Quirk of the original: constants for 224 px are multiples of 244. (OpenCV's version of the first step
    rounds coordinates to 1/32 pixel; this one does not.)
    """
    height, width = images.shape[1:3]
    planes = to_planes(to_unit(images))
    origins = _affine(height, width, noise, jitter)
    planes = functional.grid_sample(planes, origins, padding_mode="reflection", align_corners=True)
    if alpha:
        shifts = noise.uniform((2, height, width), draw=1).mul_(2).sub_(1)
        shifts = filters.gaussian(shifts, sigma, truncate=3, border="symmetric").mul_(2 * alpha)
        shifts = torch.stack([shifts[:, 0] / width, shifts[:, 1] / height], -1)
        centres = functional.affine_grid(torch.eye(2, 3, device=images.device)[None], (1, 1, height, width), False)
        planes = functional.grid_sample(planes, shifts.add_(centres), padding_mode="reflection", align_corners=False)
    return to_bytes(from_planes(planes))


def _affine(height: int, width: int, noise: SampleNoise, jitter: float) -> torch.Tensor:
    """Where each pixel comes from when three points move by a jitter, from -1 at the first pixels to 1 at the last:
    float32 (n, height, width, 2), x and y."""
    middle_x, middle_y, third = height // 2, width // 2, min(height, width) // 3  # x from the height: as the original
    points = torch.tensor([[third, third], [third, -third], [-third, -third]]) + torch.tensor([middle_x, middle_y])
    points = points.to(noise.device, torch.float64)
    moved = points + noise.uniform((3, 2)).double().mul_(2).sub_(1) * jitter
    half = torch.tensor([width - 1, height - 1], dtype=torch.float64, device=noise.device) / 2
    points, moved = points / half - 1, moved / half - 1
    ones = torch.ones(len(moved), 3, 1, dtype=torch.float64, device=noise.device)
    inverse = torch.linalg.solve(torch.cat([moved, ones], 2), points.expand_as(moved))  # (n, 3, 2): x, y, 1 to x, y
    return functional.affine_grid(inverse.mT.float(), (len(moved), 1, height, width), align_corners=True)


def pixelate(images: torch.Tensor, noise: SampleNoise, share: float) -> torch.Tensor:
    """Scale down to a share of each side and up again, both with Pillow's box filter.

    Scaling up, a box holds the one pixel in which its centre lies. On a CPU Pillow scales down; elsewhere float64 does,
    which holds its fixed-point numbers exactly.
    """
    height, width = images.shape[1:3]
    small = int(height * share), int(width * share)
    if images.device.type == "cpu":
        scaled = _by_pillow(images, lambda image: np.asarray(image.resize(small[::-1], Image.Resampling.BOX)))
    else:
        scaled = box_scaled(images, small)
    rows, columns = (torch.from_numpy(_box_centres(*sides)) for sides in zip(small, (height, width), strict=True))
    return scaled.index_select(2, columns.to(images.device)).index_select(1, rows.to(images.device))


def box_scaled(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """uint8 (n, height, width, 3) scaled down to a height and width, bit for bit as Pillow's box filter does.

    Pillow makes rows first, then columns; each time sums of bytes by weights of 22 bits are rounded to bytes.
    """
    down, across = (_box_weights(*sides).to(images.device) for sides in zip(images.shape[1:3], size, strict=True))
    for weights, axis in ((across, 2), (down, 1)):
        if weights.shape[0] != weights.shape[1]:
            sums = torch.tensordot(images.double(), weights, ([axis], [1])).movedim(-1, axis)
            images = sums.add_(1 << _BOX_BITS - 1).mul_(2.0**-_BOX_BITS).floor_().clamp_(0, 255).to(torch.uint8)
    return images


_BOX_BITS = 22


@lru_cache(maxsize=64)
def _box_weights(length: int, scaled: int) -> torch.Tensor:
    """Weights of a line's pixels in each pixel of the line scaled down: whole numbers, float64 (scaled, length)."""
    scale = length / scaled
    pixels, centres = np.arange(length), (np.arange(scaled)[:, None] + 0.5) * scale
    first, end = (np.floor(np.clip(centres + side * scale / 2 + 0.5, 0, length)) for side in (-1, 1))
    distance = (pixels - centres + 0.5) * (1 / scale)  # rounded as Pillow does: a pixel may lie just at a box's border
    inside = (pixels >= first) & (pixels < end) & (distance > -0.5) & (distance <= 0.5)
    weights = inside / inside.sum(1, keepdims=True)
    return torch.from_numpy(np.floor(0.5 + weights * (1 << _BOX_BITS)))


def jpeg_compression(images: torch.Tensor, noise: SampleNoise, quality: int) -> torch.Tensor:
    """Encode as JPEG with Pillow's defaults (4:2:0 subsampling), and decode, on the CPU.

    OpenCV decodes, with the same library and pixels as Pillow but straight into an array; where it cannot be loaded,
    Pillow does.
    """
    return _by_pillow(images, lambda image: _through_jpeg(image, quality))


def _by_pillow(images: torch.Tensor, function: Callable[[Image.Image], np.ndarray]) -> torch.Tensor:
    """A function of single images on all of a batch; of many images, several at a time."""

    def work(array: np.ndarray) -> np.ndarray:
        return function(Image.fromarray(array))

    arrays = images.cpu().numpy()
    if len(arrays) == 1:
        return torch.from_numpy(work(arrays[0])[None]).to(images.device)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return torch.from_numpy(np.stack(list(pool.map(work, arrays)))).to(images.device)


@lru_cache(maxsize=64)
def _box_centres(length: int, enlarged: int) -> np.ndarray:
    """The pixel of a line in which the centre of each pixel of the enlarged line lies."""
    return ((np.arange(enlarged) + 0.5) * (length / enlarged)).astype(np.int64)


def _through_jpeg(image: Image.Image, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    cv2 = jpeg.opencv()
    if cv2 is None:
        with Image.open(buffer) as encoded:
            return np.asarray(encoded)
    return cv2.imdecode(np.frombuffer(buffer.getbuffer(), np.uint8), cv2.IMREAD_COLOR_RGB)
