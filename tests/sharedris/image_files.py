"""Image files of every mode and format, and a Ghostscript that tells when it is started."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

HEIGHT, WIDTH = 24, 30
ORIENTATION = 0x0112


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Return an image as a file's bytes."""
    file = io.BytesIO()
    image.save(file, image_format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def turned(image: Image.Image, image_format: str, orientation: int, **options: object) -> bytes:
    """Return a file that stores these pixels and says that a viewer has to turn them."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, image_format, exif=exif, **options)


def noise() -> np.ndarray:
    """Return an RGB image (24, 30, 3) in which every pixel differs from its neighbours."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def files_that_are_read() -> dict[str, bytes]:
    """Return an image of every mode and format that is read."""
    rgb = Image.fromarray(noise())
    soft = rgb.copy()
    soft.putalpha(Image.fromarray(noise()[:, :, 0]))
    palette = rgb.quantize(16)
    grey16 = noise()[:, :, 0].astype(np.uint16) * 257
    floats = Image.fromarray((noise()[:, :, 0] / 255).astype(np.float32))
    return {
        "rgb.jpg": encoded(rgb, "JPEG", quality=95),
        "grey.jpg": encoded(rgb.convert("L"), "JPEG"),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(rgb.convert("CMYK"), "TIFF"),
        "lab.tif": encoded(rgb.convert("LAB"), "TIFF"),
        "rgb.png": encoded(rgb, "PNG"),
        "grey.png": encoded(rgb.convert("L"), "PNG"),
        "black-white.png": encoded(rgb.convert("1"), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette-transparent.png": encoded(palette, "PNG", transparency=3),
        "grey-alpha.png": encoded(soft.convert("LA"), "PNG"),
        "rgba.png": encoded(soft, "PNG"),
        "rgba.webp": encoded(soft, "WEBP", lossless=True),
        "grey16.png": encoded(Image.fromarray(grey16), "PNG"),
        "grey16.tif": encoded(Image.fromarray(grey16), "TIFF"),
        "grey16.pgm": b"P5 30 24 65535\n" + grey16.astype(">u2").tobytes(),
        "float.tif": encoded(floats, "TIFF"),
        "rgb.bmp": encoded(rgb, "BMP"),
        "rgb.gif": encoded(rgb, "GIF"),
        "rgb.ppm": encoded(rgb, "PPM"),
        "phone.mpo": encoded(rgb, "MPO", save_all=True, append_images=[rgb.convert("L").convert("RGB")]),
        "rgb.jp2": encoded(rgb, "JPEG2000"),
        **{f"turned-{way}.jpg": turned(rgb, "JPEG", way) for way in range(1, 9)},
        **{f"turned-6.{kind.lower()}": turned(rgb, kind, 6) for kind in ("PNG", "WEBP", "TIFF")},
    }


def files_that_are_refused() -> dict[str, tuple[bytes, str]]:
    """Return files and what is said of them."""
    floats = (noise()[:, :, 0] / 100).astype(np.float32)
    first, second = Image.fromarray(noise()), Image.fromarray(noise()[::-1].copy())
    several = {"save_all": True, "append_images": [second]}
    return {
        **{
            f"animation.{kind.lower()}": (encoded(first, kind, **several), "it holds several pictures")
            for kind in ("GIF", "PNG", "WEBP", "TIFF")
        },
        "integers.tif": (encoded(Image.fromarray(noise()[:, :, 0].astype(np.int32)), "TIFF"), "32-bit integer"),
        "negative.tif": (encoded(Image.fromarray(np.full((4, 4), -7, np.int32)), "TIFF"), "32-bit integer"),
        "large-floats.tif": (encoded(Image.fromarray(floats), "TIFF"), "only 0 .. 1 is read"),
        "nan.tif": (encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), "only 0 .. 1 is read"),
        "drawing.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 24\nshowpage\n", "a PostScript file"),
        "print.png": (b"%PDF-1.7\n", "a PDF file"),
        "photo.jpeg": (b"\x00\x00\x00\x18ftypheic\x00\x00", "HEIC"),
        "page.jpg": (b"<!DOCTYPE html><html></html>", "a web page"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        "text.png": (b"hello", "not an image"),
        "empty.png": (b"", "not an image"),
        "cut.png": (encoded(Image.fromarray(noise()), "PNG")[:900], "truncated"),
        "cut.jpg": (encoded(Image.fromarray(noise()), "JPEG")[:900], "truncated"),
        "bomb.png": (encoded(Image.new("1", (12_000, 12_000)), "PNG"), "too many"),
        "bigger-bomb.png": (encoded(Image.new("1", (15_000, 15_000)), "PNG"), "too many pixels"),
    }


class Ghostscript:
    """A program of the name `gs` that leaves a file when it is started."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "started"
        program = folder / "gs"
        program.write_text(f"#!/bin/sh\necho 10.0\ntouch {self.marker}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    @property
    def started(self) -> bool:
        return self.marker.exists()


def put_ghostscript_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ghostscript:
    """Let Pillow find a Ghostscript that tells when it is started."""
    folder.mkdir()
    program = Ghostscript(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return program
