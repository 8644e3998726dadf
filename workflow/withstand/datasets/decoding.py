"""Bytes of samples to images, as timm reads them: Pillow's decoder, the first frame, converted to RGB.

No rotation by EXIF: timm makes none, and results would differ from all published ones.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from withstand import jpeg
from withstand.errors import WithstandError

# of odd metadata, and of palettes with transparent colours
warnings.filterwarnings("ignore", module=r"PIL\.")

ENCODED = "image"
"""The encoding of image files: Pillow tells which format."""


class UnreadableImageError(WithstandError):
    """A sample whose bytes are no image, not a whole one, or one that Pillow would distort."""


def raw(size: int, *, planes: bool) -> str:
    """The encoding of bare pixels: three planes of one colour each, or one pixel after the other."""
    return f"{'chw' if planes else 'hwc'}:{size}"


def decode(data: bytes, encoding: str = ENCODED) -> Image.Image:
    """The image in some bytes, in RGB.

    Raises:
        UnreadableImageError: if there is none, or it has more than 8 bits a channel, which Pillow clips to white.
    """
    if not data:
        raise UnreadableImageError("empty")
    if encoding == ENCODED:
        return _decode_file(data)
    layout, _, size = encoding.partition(":")
    side = int(size)
    if layout == "hwc":
        return Image.fromarray(np.frombuffer(data, np.uint8).reshape(side, side, 3))
    return Image.fromarray(np.frombuffer(data, np.uint8).reshape(3, side, side).transpose(1, 2, 0).copy())


def pixels(data: bytes, encoding: str = ENCODED) -> np.ndarray:
    """What :func:`decode` gives, as uint8 (height, width, 3), and faster for JPEG files; raises the same."""
    found = jpeg.decode(data) if encoding == ENCODED else None
    return np.asarray(decode(data, encoding)) if found is None else found


def _decode_file(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        if image.mode.startswith(("I", "F")):
            raise UnreadableImageError(f"mode {image.mode}: more than 8 bits a channel, which Pillow clips")
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")
    except UnreadableImageError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types
        raise UnreadableImageError(str(error).split(" <_io")[0] or type(error).__name__) from error
