"""What the ImageNet-C scripts do where imagecorruptions departs from them, in NumPy, SciPy, OpenCV and ImageMagick.

Images are uint8 (height, width, 3); random draws are arguments. Results are floats before they are cut off.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import io

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import gaussian


class MagickWand:
    """ImageMagick 6 by its C interface (Debian's libmagickwand-6.q16)."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)
        self._library.MagickWandGenesis()
        self._library.NewMagickWand.restype = ctypes.c_void_p
        self._library.MagickGetImageBlob.restype = ctypes.POINTER(ctypes.c_ubyte)

    @classmethod
    def find(cls) -> MagickWand | None:
        library = ctypes.util.find_library("MagickWand-6.Q16")
        return None if library is None else cls(library)

    def motion_blur(self, image: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
        """``MagickMotionBlurImage`` on an image that passes through PNG, as in the scripts; grey or RGB."""
        png = io.BytesIO()
        Image.fromarray(image).save(png, "PNG")
        data = png.getvalue()
        wand = ctypes.c_void_p(self._library.NewMagickWand())
        try:
            assert self._library.MagickReadImageBlob(wand, data, ctypes.c_size_t(len(data)))
            numbers = [ctypes.c_double(number) for number in (radius, sigma, angle)]
            assert self._library.MagickMotionBlurImage(wand, *numbers)
            length = ctypes.c_size_t()
            blob = self._library.MagickGetImageBlob(wand, ctypes.byref(length))
            with Image.open(io.BytesIO(ctypes.string_at(blob, length.value))) as blurred:
                return np.asarray(blurred.convert("RGB" if image.ndim == 3 else "L"))
        finally:
            self._library.DestroyMagickWand(wand)


def clipped_zoom(image: np.ndarray, factor: float) -> np.ndarray:
    """The enlarged middle of an image (height, width), at its size."""
    height = image.shape[0]
    crop = int(np.ceil(height / factor))
    top = (height - crop) // 2
    zoomed = ndimage.zoom(image[top : top + crop, top : top + crop], factor, order=1)
    trim = (zoomed.shape[0] - height) // 2
    return zoomed[trim : trim + height, trim : trim + height]


def snow(image, constants, normal, angle, motion_blur) -> np.ndarray:
    """``normal``: standard normal (height, width); ``motion_blur``: as that of :class:`MagickWand`."""
    mean, std, factor, threshold, radius, sigma, mix = constants
    flakes = clipped_zoom(normal.astype(np.float64) * std + mean, factor)
    flakes[flakes < threshold] = 0
    flakes = motion_blur((np.clip(flakes, 0, 1) * 255).astype(np.uint8), radius, sigma, angle) / 255
    colours = image.astype(np.float32) / 255
    grey = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)[..., None] * 1.5 + 0.5
    pale = mix * colours + (1 - mix) * np.maximum(colours, grey)
    return np.clip(pale + flakes[..., None] + np.rot90(flakes, 2)[..., None], 0, 1) * 255


def frost(image, constants, picture, top, left) -> np.ndarray:
    """``picture``: path of a photograph; ``top``, ``left``: uniform numbers in [0, 1)."""
    image_weight, frost_weight, scale = constants
    frozen = cv2.imread(str(picture))
    if scale != 1:
        frozen = cv2.resize(frozen, (0, 0), fx=scale, fy=scale)
    height, width = image.shape[:2]
    top, left = int(top * (frozen.shape[0] - height)), int(left * (frozen.shape[1] - width))
    crop = frozen[top : top + height, left : left + width, ::-1]
    return np.clip(image_weight * image.astype(float) + frost_weight * crop, 0, 255)


def elastic_transform(image, constants, jitters, shifts) -> np.ndarray:
    """``jitters``: uniform (3, 2) in [-1, 1); ``shifts``: uniform (2, height, width) in [-1, 1), across and down."""
    alpha, sigma, jitter = constants
    height, width = image.shape[:2]
    centre, third = np.float32((height, width)) // 2, min(height, width) // 3
    corners = np.float32([centre + third, [centre[0] + third, centre[1] - third], centre - third])
    matrix = cv2.getAffineTransform(corners, (corners + jitter * jitters).astype(np.float32))
    colours = image.astype(np.float32) / 255
    colours = cv2.warpAffine(colours, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    across, down = (
        (gaussian(shift.astype(float), sigma, mode="reflect", truncate=3) * alpha).astype(np.float32)
        for shift in shifts
    )
    rows, columns = np.mgrid[:height, :width]
    places = [rows + down, columns + across]
    warped = [ndimage.map_coordinates(colours[..., c], places, order=1, mode="reflect") for c in range(3)]
    return np.clip(np.stack(warped, -1), 0, 1) * 255
