"""From RGB pixels to the model's input, the same in training, evaluation and predict: resize, normalize.

Shapes: H, W the image's size, S the input size; C 3 colors; B images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def resize_image(image_HWC: np.ndarray, size: int) -> Tensor:
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


def normalize(images_CSS: Sequence[Tensor]) -> Tensor:
    """Return images_BCSS, float32, mean 0.5 and standard deviation 0.5 removed: 0 .. 255 becomes -1 .. 1."""
    images_BCSS = torch.empty((len(images_CSS), *images_CSS[0].shape), dtype=torch.float32)
    minus_one = torch.tensor(-1.0)
    for target_CSS, image_CSS in zip(
        images_BCSS, images_CSS, strict=True
    ):  # one by one, while the image is in the CPU cache
        target_CSS.copy_(image_CSS)
        torch.add(minus_one, target_CSS, alpha=1 / 127.5, out=target_CSS)
    return images_BCSS


def normalize_batch(images_BCSS: Tensor) -> Tensor:
    """Return what `normalize` returns, of a batch of uint8 on any device."""
    minus_one = torch.tensor(-1.0, device=images_BCSS.device)
    return torch.add(minus_one, images_BCSS.float(), alpha=1 / 127.5)
