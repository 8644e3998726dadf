"""Weather corruptions."""

from __future__ import annotations

import numpy as np
import torch

from withstand.corruptions import filters
from withstand.corruptions.fractal import plasma
from withstand.corruptions.frost_pictures import frost_picture
from withstand.corruptions.pixels import ROUNDING, SampleNoise, from_planes, to_bytes, to_planes, to_unit
from withstand.errors import WithstandError

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (OpenCV's ``COLOR_RGB2GRAY``, ITU-R BT.601)."""


def snow(
    images: torch.Tensor,
    noise: SampleNoise,
    mean: float,
    std: float,
    factor: float,
    threshold: float,
    radius: int,
    sigma: float,
    mix: float,
) -> torch.Tensor:
    """Flakes, enlarged ``factor`` times from normal noise and blurred by motion, over a paler image.

    Values of the noise below ``threshold`` are no snow. Direction between -135 and -45 degrees. The flakes are added
    twice, the second time turned by half a turn. ``mix`` is the weight of the image against its pale grey version.
    Quirk of the original: the flakes pass through 8 bits before and after the motion blur, cut off each time.
    """
    height, width = images.shape[1:3]
    flakes = filters.zoom(noise.normal((1, height, width)).mul_(std).add_(mean), factor)
    flakes = to_bytes(flakes * (flakes >= threshold)).float()
    angles = (noise.uniform((), draw=1).double() * 90 - 135).tolist()
    flakes = filters.motion_blur(flakes, radius, sigma, angles).div_(255)
    flakes = flakes + flakes.flip(2, 3)
    planes = to_planes(to_unit(images))
    grey = sum(weight * planes[:, channel : channel + 1] for channel, weight in enumerate(GREY))
    pale = torch.maximum(planes, grey.mul_(1.5).add_(0.5))
    return to_bytes(from_planes(pale.mul_(1 - mix).add_(planes, alpha=mix).add_(flakes)))


def frost(
    images: torch.Tensor, noise: SampleNoise, image_weight: float, frost_weight: float, scale: float
) -> torch.Tensor:
    """Add a random part of one of five photographs of frost, scaled by ``scale``; weights may exceed 1 in sum.

    Quirk of the original: the sixth photograph is never drawn. Images larger than a photograph, for which the original
    has no rule, get it enlarged just so far that it covers them.
    """
    height, width = images.shape[1:3]
    parts = []
    for which, down, across in noise.uniform((3,)).double().tolist():
        picture = frost_picture(int(which * 5), scale, height + 1, width + 1, images.device)
        top, left = int(down * (picture.shape[0] - height)), int(across * (picture.shape[1] - width))
        parts.append(picture[top : top + height, left : left + width])
    frosted = torch.stack(parts).mul_(frost_weight).add_(images.float(), alpha=image_weight)
    return frosted.add_(ROUNDING).clamp_(0, 255).to(torch.uint8)


def fog(images: torch.Tensor, noise: SampleNoise, strength: float, decay: float) -> torch.Tensor:
    """Add a plasma fractal, then scale so that the image's lightest value keeps its place.

    The fractal is as large as the next power of two and cut at the top left; it wanders less from scale to scale the
    greater ``decay`` is.
    """
    height, width = images.shape[1:3]
    size = 1 << (max(height, width) - 1).bit_length()
    planes = to_planes(to_unit(images))
    lightest = planes.amax(dim=(1, 2, 3), keepdim=True)
    mist = plasma(noise, size, decay)[:, None, :height, :width]
    return to_bytes(from_planes(planes.add_(mist, alpha=strength).mul_(lightest / (lightest + strength))))


def brightness(images: torch.Tensor, noise: SampleNoise, added: float) -> torch.Tensor:
    """Add to the V channel of HSV, clipped at 1; hue and saturation stay.

    At fixed hue and saturation RGB is proportional to V, so the colours are scaled instead of converted. Black has
    neither, and becomes grey.
    """
    colours = to_planes(to_unit(images))
    value = colours.amax(dim=1, keepdim=True)
    brighter = value.add(added).clamp_(max=1)
    black = (value == 0).float()
    return to_bytes(from_planes(colours.mul_(brighter / (value + black)).add_(black * brighter)))


WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)


def spatter(
    images: torch.Tensor,
    noise: SampleNoise,
    mean: float,
    std: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: int,
) -> torch.Tensor:
    """Splashes of water (pale turquoise, added) or mud (brown, covering) where blurred noise exceeds ``threshold``.

    ``strength`` is the weight of the water, or the sigma by which the mud's edges are blurred. Water is shaded by
    OpenCV's edges, distance transform and filters, on the CPU. Where no noise exceeds the threshold, the original
    divides by zero; here such an image stays as it is.
    """
    height, width = images.shape[1:3]
    liquid = filters.gaussian(noise.normal((1, height, width)).mul_(std).add_(mean), sigma)
    colours = to_unit(images)
    if mud:
        cover = filters.gaussian((liquid > threshold).float(), strength).permute(0, 2, 3, 1)
        cover = cover * (cover >= 0.8)
        return to_bytes(colours.mul_(1 - cover).add_(cover * colours.new_tensor(MUD)))
    shaded = torch.stack([_shade(layer) for layer in to_bytes(liquid * (liquid >= threshold))[:, 0].cpu()])
    light = shaded.to(images.device)[..., None]
    return to_bytes(colours.add_(light * colours.new_tensor(WATER), alpha=strength))


def _shade(liquid: torch.Tensor) -> torch.Tensor:
    """Light on drops of water, float32 (height, width) up to 1, from their thickness, uint8 (height, width)."""
    try:
        import cv2
    except ImportError as error:
        raise WithstandError(f"spatter needs OpenCV, which cannot be loaded here: {error}") from error

    thickness = liquid.numpy()
    edges = cv2.distanceTransform(255 - cv2.Canny(thickness, 50, 150), cv2.DIST_L2, 5)
    _, edges = cv2.threshold(edges, 20, 20, cv2.THRESH_TRUNC)
    relief = cv2.equalizeHist(cv2.blur(edges, (3, 3)).astype(np.uint8))
    relief = cv2.filter2D(relief, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    light = thickness * cv2.blur(relief, (3, 3)).astype(np.float32)
    return torch.from_numpy(light / max(light.max(), 1.0))
