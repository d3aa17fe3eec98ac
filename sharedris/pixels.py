"""The only decoder of image files: preparation, checks, training, evaluation, predict and reports see the same pixels.

Pixels are uint8 RGB, upright as a viewer shows them (EXIF and XMP orientation applied). Grey of 16 bits is scaled by
1/257, floats of 0 .. 1 by 255. A transparent pixel is laid over white. CMYK is converted as Pillow does. Other floats
and 32-bit integers have no fixed range and are refused, and so are files of several pictures.
Shapes: H, W the size of the upright image; C 3 colors.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from sharedris.errors import InputError

_Result = TypeVar("_Result")

logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # it logs what it raises as well

MAX_PIXELS = 100_000_000
"""Larger images are refused before a pixel is decoded."""

MAX_FILE_BYTES = 256 << 20
"""Largest image file that is read."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")
"""Formats that are tried. Pillow's own list has PostScript, for which it starts Ghostscript."""

_READ = "JPEG, PNG, WebP, TIFF, BMP, GIF, PPM and JPEG 2000 are read"
_OTHER_FILES = (
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF", "a PDF file"),
    (b"<svg", "an SVG file"),
    (b"<?xml", "an XML or SVG file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"ftyp", "an HEIC, AVIF or video file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)
_JPEG = b"\xff\xd8\xff"
_START_OF_SCAN = 0xDA
_PLAIN_COLORS = ("YCbCr", "Gray")
_ORIENTATION_TAG = 0x0112
_TURNED_BY = (b"Exif\x00\x00", b"eXIf", b"Raw profile type", b"adobe")
"""Bytes without which neither a JPEG nor a PNG holds an orientation (EXIF; XMP by its name space ns.adobe.com)."""

_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),  # a quarter clockwise
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
"""EXIF orientation -> from stored to upright pixels; 1 and unknown values leave them as they are."""

_PLAIN_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})


class ImageError(InputError):
    """An image file that is refused; `reason` is the message without the file's name."""

    def __init__(self, name: str, reason: str, remedy: str) -> None:
        self.reason = reason
        super().__init__(f"{name} does not decode: {reason}", remedy)


class _RefusedError(ValueError):
    """Content that is not read."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(reason)


def decode_image(content: bytes, *, name: str) -> np.ndarray:
    """Return image_HWC, uint8 RGB and upright, of an image file's bytes.

    Args:
        name: of the file, for the message.

    Raises:
        ImageError: when the bytes are damaged, of a format or of pixels that are not read, or of too many pixels.
    """
    return _named(name, lambda: _decode(content))


def image_size(content: bytes, *, name: str) -> tuple[int, int]:
    """Return height and width of the upright image, from the header of an image file's bytes.

    Raises:
        ImageError: as `decode_image`, for what the header shows.
    """
    return _named(name, lambda: _upright_size(_open(content), content))


def check_pixels(content: bytes, *, name: str) -> None:
    """Refuse what `decode_image` refuses, at less cost.

    JPEGs are decoded at an eighth of their size: that reads every byte at a third of the cost.

    Raises:
        ImageError: as `decode_image`.
    """
    _named(name, lambda: _draft_jpeg(content) if content.startswith(_JPEG) else _decode(content))


def rgb_pixels(image: Image.Image, *, name: str) -> np.ndarray:
    """Return image_HWC, uint8 RGB and upright, of a Pillow image that the caller opened.

    Raises:
        ImageError: as `decode_image`.
    """
    return _named(name, lambda: _upright_rgb(image))


def decode_mask_image(content: bytes, *, name: str) -> np.ndarray:
    """Return mask_HW, bool and upright, of a mask file's bytes, which have to be PNG.

    An alpha channel that is not opaque everywhere is the mask: what is at least half opaque is the object, as in the
    cut-outs of background removers. Otherwise a pixel is the object if any of its channels is not 0.

    Raises:
        ImageError: as `decode_image`, for a file that is not PNG, and for colors of 16 bits, whose lower half Pillow
            drops.
    """
    return _named(name, lambda: _decode_mask(content))


def _named(name: str, decode: Callable[[], _Result]) -> _Result:
    """Call a decoder; turn what Pillow raises and warns into one error that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return decode()
    except _RefusedError as error:
        raise ImageError(name, error.reason, error.remedy) from None
    except UnidentifiedImageError:
        raise ImageError(name, "not an image", f"{_READ}; convert it, or fetch it again") from None
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        text = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(name, text, "The file is damaged; fetch it again") from None


def _decode(content: bytes) -> np.ndarray:
    image_HWC = _decode_jpeg(content)
    if image_HWC is None:
        return _upright_rgb(_open(content))
    return _upright(image_HWC, _orientation(_open(content)) if _may_be_turned(content) else 1)


def _upright_rgb(image: Image.Image) -> np.ndarray:
    _require_bounded(image.height, image.width)
    turn = _orientation(image)
    return _upright(_to_rgb(image), turn)


def _draft_jpeg(content: bytes) -> None:
    image = _open(content)
    image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
    image.load()


def _decode_mask(content: bytes) -> np.ndarray:
    image = _open(content)
    if image.format != "PNG":
        raise _RefusedError(f"it is {image.format}; a mask has to be lossless PNG", "Save it as PNG")
    depth, color_type = content[24], content[25]
    if depth == 16 and color_type != 0:
        raise _RefusedError("it is a PNG of 16-bit colors; faint ones would be lost", "Save it with 8 bits a channel")
    return _upright(_mask_pixels(image), _orientation(image))


def _open(content: bytes) -> Image.Image:
    start = content[:64].lstrip()
    for signature, kind in _OTHER_FILES:
        if start.startswith(signature) or content[4:].startswith(signature):
            raise _RefusedError(f"it is {kind}", f"{_READ}; convert it")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _RefusedError(f"it has too many pixels (more than {MAX_PIXELS:,})", "Scale it down first") from None
    _require_bounded(image.height, image.width)
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a phone's photo with a depth map behind
        raise _RefusedError("it holds several pictures (an animation or pages)", "Save the one that is meant")
    return image


def _require_bounded(height: int, width: int) -> None:
    if min(height, width) < 1:
        raise _RefusedError(f"it is {width}x{height} pixels", "Give one with pixels")
    if height * width > MAX_PIXELS:
        raise _RefusedError(f"{width} x {height} pixels are too many (more than {MAX_PIXELS:,})", "Scale it down first")


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
    except _RefusedError:
        raise
    except ValueError:
        return None


def _may_be_turned(content: bytes) -> bool:
    """Return whether bytes that announce an orientation occur; for a JPEG before its pixels, which take most time."""
    header = content[: _end_of_jpeg_header(content)] if content.startswith(_JPEG) else content
    return any(mark in header for mark in _TURNED_BY)


def _end_of_jpeg_header(content: bytes) -> int:
    """Return where the scan starts, or the end of the file where the segments before it are not as expected."""
    at = 2
    while content[at : at + 1] == b"\xff" and at + 4 <= len(content):
        if content[at + 1] == _START_OF_SCAN:
            return at
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return len(content)


def _upright_size(image: Image.Image, content: bytes) -> tuple[int, int]:
    # Pillow decodes a whole PNG to look for EXIF behind its pixels.
    turn = _orientation(image) if image.format != "PNG" or _may_be_turned(content) else 1
    return (image.width, image.height) if turn in (5, 6, 7, 8) else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is still to be applied; Pillow itself turns a TIFF, its size included."""
    if image.format == "TIFF":
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF raises many types; viewers show such a photo as it is stored
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    return np.ascontiguousarray(_TURNS[turn](pixels)) if turn in _TURNS else pixels


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Return image_HWC as stored; writable, as torch wants it."""
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # PPM: scaled to 65535
        return _grey((np.asarray(image).astype(np.uint32) + 128) // 257)  # rounded; of floats it would take 800 MB
    if image.mode == "F":
        return _grey((_unit_floats(np.asarray(image)) * 255).round())
    if image.mode in _ALPHA_MODES or (image.mode in _PLAIN_MODES and image.has_transparency_data):
        return _over_white(image)
    if image.mode not in _PLAIN_MODES:
        kind = "32-bit integer" if image.mode == "I" else image.mode
        raise _RefusedError(f"{kind} pixels have no fixed range of brightness", "Save it with 8 or 16 bits a channel")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")).copy()


def _unit_floats(values_HW: np.ndarray) -> np.ndarray:
    low, high = float(values_HW.min()), float(values_HW.max())
    if not (low >= 0 and high <= 1):  # also where it is not a number
        raise _RefusedError(
            f"float pixels have values of {low:g} .. {high:g}; only 0 .. 1 is read", "Scale them to 0 .. 1"
        )
    return values_HW


def _grey(values_HW: np.ndarray) -> np.ndarray:
    return np.repeat(values_HW.astype(np.uint8)[:, :, None], 3, axis=2)


def _over_white(image: Image.Image) -> np.ndarray:
    straight = image.convert("LA") if image.mode == "La" else image
    white = Image.new("RGBA", image.size, "white")
    shown: np.ndarray = np.asarray(Image.alpha_composite(white, straight.convert("RGBA")).convert("RGB"))
    return shown.copy()


def _mask_pixels(image: Image.Image) -> np.ndarray:
    image.load()
    if image.mode in ("1", "L", "I;16", "I;16B") and "transparency" not in image.info:
        return np.asarray(image).astype(bool)
    if image.mode.startswith("I"):
        raise _RefusedError("it is a 16-bit PNG with a transparent value", "Save it with 8 bits")
    colors = np.asarray(image.convert("RGBA"))
    if image.has_transparency_data and colors[:, :, 3].min() < 255:
        return (colors[:, :, 3] >= 128).astype(bool)
    return colors[:, :, :3].any(axis=2).astype(bool)
