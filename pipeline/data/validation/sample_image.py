"""One sample of the data sheet as a small JPEG: the object in its own colors with an outline, all else dimmed."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from pipeline.data.masks import decode_mask
from pipeline.data.readers.annotations import SourceRef
from sharedris.errors import InputError
from sharedris.pixels import decode_image

_SIDE_PIXELS = 240
_LINE_COLOR = (255, 0, 200)
_DIMMED = 0.55


def draw_sample(ref: SourceRef, read: Callable[[str], bytes]) -> bytes:
    """Return the JPEG; no bytes where the image is missing or does not decode.

    Args:
        read: bytes of an image by file name.
    """
    try:
        image_HWC = decode_image(read(ref.image.file_name), name=ref.image.file_name)
    except (InputError, OSError):
        return b""
    if ref.mask_rle is not None and image_HWC.shape[:2] == (ref.image.height, ref.image.width):
        image_HWC = _outlined(image_HWC, decode_mask(ref.mask_rle, height=ref.image.height, width=ref.image.width))
    small = Image.fromarray(image_HWC)
    if max(small.size) < _SIDE_PIXELS:  # synthetic images are 96 pixels wide
        small = small.resize((small.width * 3, small.height * 3), Image.Resampling.NEAREST)
    small.thumbnail((_SIDE_PIXELS * 2, _SIDE_PIXELS * 2))
    out = io.BytesIO()
    small.save(out, format="JPEG", quality=85)
    return out.getvalue()


def _outlined(image_HWC: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """Dim all but the object and draw a line around it; the object keeps its colors, since expressions name them."""
    line_pixels = max(1, max(mask_HW.shape) // 200)
    grown = Image.fromarray(mask_HW).filter(ImageFilter.MaxFilter(2 * line_pixels + 1))
    inside = mask_HW.astype(bool)
    shown = image_HWC * np.where(inside, 1.0, _DIMMED)[:, :, None]
    shown[np.asarray(grown).astype(bool) & ~inside] = _LINE_COLOR
    return shown.astype(np.uint8)
