"""JPEG files to pixels by OpenCV, which takes half of Pillow's time and holds Python's lock for a tenth of it, so that
threads gain; both use libjpeg-turbo, with the same settings."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np
from PIL import Image

_FRAMES = (0xC0, 0xC1, 0xC2)
"""Markers of frames that are baseline, extended and progressive."""

_ADOBE, _SCAN, _END = 0xEE, 0xDA, b"\xff\xd9"


@lru_cache(maxsize=1)
def opencv() -> ModuleType | None:
    """OpenCV; None where it is not installed, or lacks a library of the system. A failing import is slow."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def decode(data: bytes) -> np.ndarray | None:
    """The pixels of a JPEG file, uint8 (height, width, 3), RGB, as Pillow gives them, without rotation by EXIF.

    None where that is not certain: for other formats, files that do not end as they should, other than three channels
    of 8 bits, Adobe's colour transforms, and more pixels than Pillow takes without a warning.
    """
    cv2 = opencv()
    if cv2 is None or not _is_plain(data):
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def _is_plain(data: bytes) -> bool:
    if data[:2] != b"\xff\xd8" or data[-2:] != _END:
        return False
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAMES:
            height, width = (int.from_bytes(data[start : start + 2], "big") for start in (place + 5, place + 7))
            return data[place + 4] == 8 and data[place + 9] == 3 and height * width <= (Image.MAX_IMAGE_PIXELS or 0)
        if marker in (_ADOBE, _SCAN):
            return False
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False
