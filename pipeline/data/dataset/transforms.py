"""From files to arrays of the model's input size: decode, resize, normalize.

Shapes: H, W the original size, S the input size; C 3 colors. Images are uint8 RGB until `normalize`.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence

import numpy as np
import simplejpeg
import torch
from PIL import Image

from pipeline.data.masks import MAX_PIXELS
from sharedris.errors import InputError

_JPEG = b"\xff\xd8\xff"
_PLAIN_COLORS = ("YCbCr", "Gray")


def decode_image(content: bytes, *, name: str) -> np.ndarray:
    """Return image_HWC, uint8 RGB, of an image file's bytes (grey and palette images become RGB).

    Raises:
        InputError: when the bytes do not decode, or to more pixels than any image of a set has.
    """
    image_HWC = _decode_jpeg(content)
    if image_HWC is not None:
        return image_HWC
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content))
            _require_bounded(image.height, image.width)
            return np.asarray(
                image if image.mode == "RGB" else image.convert("RGB")
            ).copy()  # as torch wants it: writable
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise InputError(f"{name} does not decode: {error}", "Replace the file and prepare the set again") from None


def _decode_jpeg(content: bytes) -> np.ndarray | None:
    """Return Pillow's pixels of a plain, undamaged JPEG; None for anything else, which is left to Pillow.

    Both use libjpeg-turbo; simplejpeg copies nothing and stores three bytes per pixel: a sixth less time.
    """
    if not content.startswith(_JPEG):
        return None
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(content)
        _require_bounded(height, width)
        return simplejpeg.decode_jpeg(content) if colors in _PLAIN_COLORS else None
    except ValueError:
        return None


def _require_bounded(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are too many")


def resize_image(image_HWC: np.ndarray, size: int) -> torch.Tensor:
    """Return image_CSS, uint8, resized bicubic with antialias to a square, the aspect not kept.

    Same filter and order of passes as Pillow's BICUBIC up to Pillow 12, width first (within 2/255), in integers, at
    about a third of its time. Pillow 13 resizes the height first where it shrinks most, and rounds differently there.
    """
    if image_HWC.shape[:2] == (size, size):
        return torch.from_numpy(image_HWC).permute(2, 0, 1)
    image_1CHW = torch.from_numpy(image_HWC).permute(2, 0, 1)[None]  # channels last, as torch's fast path wants it
    return torch.nn.functional.interpolate(
        image_1CHW, size=(size, size), mode="bicubic", antialias=True, align_corners=False
    )[0]


def resize_mask(mask_HW: np.ndarray, size: int) -> np.ndarray:
    """Return mask_SS, resized to the nearest pixel centre, pixel for pixel as Pillow's NEAREST does."""
    height, width = mask_HW.shape
    # pycocotools stores masks column by column: taking columns first reads memory in order.
    columns_WH = mask_HW.T.take(_nearest(width, size), axis=0)
    return np.ascontiguousarray(columns_WH.T).take(_nearest(height, size), axis=0)


@functools.lru_cache(maxsize=4096)
def _nearest(length: int, size: int) -> np.ndarray:
    """Return the source index of each of `size` pixels; summed step by step to round ties as Pillow does."""
    steps = np.full(size, length / size)
    steps[0] /= 2
    return np.cumsum(steps).astype(np.intp)


def normalize(images_CSS: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return images_BCSS, float32, mean 0.5 and standard deviation 0.5 removed: 0 .. 255 becomes -1 .. 1."""
    images_BCSS = torch.empty((len(images_CSS), *images_CSS[0].shape), dtype=torch.float32)
    minus_one = torch.tensor(-1.0)
    for target_CSS, image_CSS in zip(
        images_BCSS, images_CSS, strict=True
    ):  # one by one, while the image is in the CPU cache
        target_CSS.copy_(image_CSS)
        torch.add(minus_one, target_CSS, alpha=1 / 127.5, out=target_CSS)
    return images_BCSS
