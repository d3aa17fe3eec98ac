"""The small images of a page of samples: as large as fit their part of the file."""

from __future__ import annotations

import base64
import io

from PIL import Image

from reports.ground_truth import Truth

FORMS = ((256, 50), (192, 45), (160, 40), (128, 35), (96, 30), (64, 25))
"""Longer side and WebP quality, tried until the images fit."""
TRIED_IMAGES = 32


def fitting_form(truth: Truth, files: list[str], most_bytes: float) -> tuple[int, int]:
    """Return the largest of FORMS with which all images take at most so many bytes; the smallest where none does."""
    tried = files[:: max(1, len(files) // TRIED_IMAGES)]
    pictures = [picture for name in tried if (picture := _picture(truth, name, FORMS[0][0])) is not None]
    for form in FORMS:
        if sum(len(_encoded(picture, form)) for picture in pictures) * len(files) / max(1, len(tried)) <= most_bytes:
            return form
    return FORMS[-1]


def thumbnails(truth: Truth, files: list[str], form: tuple[int, int]) -> list[str]:
    """Return a small WebP per image in base64, "" where the image is not there; one image is decoded at a time."""
    pictures = (_picture(truth, name, form[0]) for name in files)
    return ["" if picture is None else _encoded(picture, form) for picture in pictures]


def _picture(truth: Truth, name: str, side: int) -> Image.Image | None:
    pixels = truth.image(name)
    if pixels is None:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return image


def _encoded(picture: Image.Image, form: tuple[int, int]) -> str:
    side, quality = form
    small, out = picture.copy(), io.BytesIO()
    small.thumbnail((side, side))
    small.save(out, format="webp", quality=quality, method=4)
    return base64.b64encode(out.getvalue()).decode()
