"""Figures of predictions: masks over the image with a legend, and panels of attention maps.

Shapes: H and W sides of the image, G side of the patch grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from sharedris.predictor import Prediction

COLORS = ((230, 25, 75), (0, 130, 200), (60, 180, 75), (245, 130, 48), (145, 30, 180), (0, 160, 160), (240, 50, 230))
"""One per sentence, in turn."""

HEAT = np.array([[0, 0, 0], [60, 10, 110], [190, 40, 70], [250, 140, 20], [255, 245, 160]], dtype=np.float32)
"""Colors from the smallest to the largest weight of a map."""

PANEL_HEIGHT = 320
MAX_SIDE = 1600
"""Overlays are scaled down to this side; masks keep the image's size."""


def draw_overlay(image: Image.Image, predictions: Sequence[Prediction]) -> Image.Image:
    """Return the image with each mask tinted and outlined in a separate color, and a legend with the sentences."""
    image = fit(image, MAX_SIDE)
    for index, prediction in enumerate(predictions):
        image = tint(image, prediction.mask_HW, COLORS[index % len(COLORS)])
    return _with_legend(image, predictions)


def fit(image: Image.Image, max_side: int) -> Image.Image:
    """Return the image, scaled down if a side is longer than that."""
    ratio = max_side / max(image.size)
    if ratio >= 1:
        return image.copy()
    width, height = (max(1, round(side * ratio)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def tint(image: Image.Image, mask_HW: np.ndarray, color: tuple[int, int, int]) -> Image.Image:
    """Return the image with a mask tinted and outlined in a color."""
    mask = Image.fromarray(mask_HW.astype(np.uint8) * 255).resize(image.size, Image.Resampling.NEAREST)
    # A wider line on a larger image; both filters grow the mask by the same number of pixels to either side.
    line = 2 * max(1, max(image.size) // 400) + 1
    grown, shrunk = mask.filter(ImageFilter.MaxFilter(line)), mask.filter(ImageFilter.MinFilter(line))
    outline = np.asarray(grown) != np.asarray(shrunk)
    share = np.where(outline, 1.0, np.asarray(mask) / 255 * 0.45)[..., None]
    blended = np.asarray(image) * (1 - share) + np.array(color) * share
    return Image.fromarray(blended.round().astype(np.uint8))


def _with_legend(image: Image.Image, predictions: Sequence[Prediction]) -> Image.Image:
    height = max(16, min(32, image.width // 24))
    font = ImageFont.load_default(size=height * 0.7)
    page = Image.new("RGB", (image.width, image.height + height * len(predictions)), "white")
    page.paste(image)
    draw = ImageDraw.Draw(page)
    for index, prediction in enumerate(predictions):
        top = image.height + index * height
        draw.rectangle((4, top + 4, height - 4, top + height - 4), fill=COLORS[index % len(COLORS)])
        text = f"{prediction.sentence}  ({100 * prediction.area_ratio:.1f} %)"
        draw.text((height + 4, top + height // 2), text, fill="black", font=font, anchor="lm")
    return page


def draw_attention(image: Image.Image, prediction: Prediction) -> Image.Image:
    """Return a row of panels: the mask, then the attention map of each component over the image."""
    width = max(1, round(image.width * PANEL_HEIGHT / image.height))
    small = image.resize((width, PANEL_HEIGHT), Image.Resampling.BICUBIC)
    panels = {"mask": tint(small, prediction.mask_HW, COLORS[0])}
    panels |= {name: _heat(small, map_GG) for name, map_GG in prediction.attention_GG.items()}
    page = Image.new("RGB", (len(panels) * (width + 4) - 4, PANEL_HEIGHT + 48), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=15)
    for index, (name, panel) in enumerate(panels.items()):
        left = index * (width + 4)
        page.paste(panel, (left, 24))
        draw.text((left + 4, 12), name, fill="black", font=font, anchor="lm")
    draw.text((4, PANEL_HEIGHT + 36), prediction.sentence, fill="black", font=font, anchor="lm")
    return page


def _heat(image: Image.Image, map_GG: np.ndarray) -> Image.Image:
    """Return the image in gray under a map whose lowest and highest weights span the colors."""
    span = max(float(map_GG.max() - map_GG.min()), 1e-12)
    scaled = Image.fromarray(((map_GG - map_GG.min()) / span).astype(np.float32))
    level_HW = np.asarray(scaled.resize(image.size, Image.Resampling.BILINEAR)) * (len(HEAT) - 1)
    steps = np.arange(len(HEAT))
    heat = np.stack([np.interp(level_HW, steps, HEAT[:, channel]) for channel in range(3)], axis=-1)
    gray = np.asarray(image.convert("L").convert("RGB"))
    return Image.fromarray((0.35 * gray + 0.65 * heat).round().astype(np.uint8))
