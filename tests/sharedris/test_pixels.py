"""One decoder: upright RGB of every mode and format that is read, and every other file refused by name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sharedris import pixels
from sharedris.errors import InputError
from sharedris.pixels import check_pixels, decode_image, decode_mask_image, image_size
from tests.sharedris.image_files import (
    HEIGHT,
    WIDTH,
    encoded,
    files_that_are_read,
    files_that_are_refused,
    noise,
    put_ghostscript_on_path,
    turned,
)

READ = files_that_are_read()
REFUSED = files_that_are_refused()
LOSSLESS_RGB = ("rgb.png", "rgb.bmp", "rgb.ppm")


@pytest.mark.parametrize("name", READ)
def test_every_mode_becomes_rgb_of_the_size_in_its_header(name: str) -> None:
    image_HWC = decode_image(READ[name], name=name)
    assert (image_HWC.dtype, image_HWC.shape[2]) == (np.uint8, 3)
    assert image_HWC.shape[:2] == image_size(READ[name], name=name)
    assert image_HWC.flags.writeable
    assert image_HWC.flags.c_contiguous
    check_pixels(READ[name], name=name)


@pytest.mark.parametrize("name", LOSSLESS_RGB)
def test_plain_pixels_are_kept(name: str) -> None:
    assert (decode_image(READ[name], name=name) == noise()).all()


@pytest.mark.parametrize("way", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photo_is_shown_upright(kind: str, way: int) -> None:
    content = turned(Image.fromarray(noise()), kind, way)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert (decode_image(content, name="x") == expected).all()
    assert image_size(content, name="x") == expected.shape[:2] == ((WIDTH, HEIGHT) if way > 4 else (HEIGHT, WIDTH))


def test_an_orientation_in_xmp_counts() -> None:
    packet = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    content = encoded(Image.fromarray(noise()), "JPEG", xmp=packet)
    assert decode_image(content, name="x").shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize("exif", [b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"Exif\x00\x00hello"])
def test_damaged_exif_leaves_a_photo_as_it_is_stored(exif: bytes) -> None:
    content = encoded(Image.fromarray(noise()), "JPEG", exif=exif)
    assert decode_image(content, name="x").shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_unknown_orientation_turns_nothing(value: int) -> None:
    assert decode_image(turned(Image.fromarray(noise()), "JPEG", value), name="x").shape == (HEIGHT, WIDTH, 3)


def test_photographs_of_coco_have_the_pixels_they_had(shared_data: Path) -> None:
    """None has an orientation, so that no published set changes: every byte is what Pillow's RGB conversion gives."""
    paths = sorted((shared_data / "mini-refcoco/images/mscoco/images/train2014").glob("*.jpg"))
    assert len(paths) == 38
    for path in paths:
        content = path.read_bytes()
        with Image.open(path) as image:
            assert image.getexif().get(0x0112, 1) == 1
            plain = np.asarray(image.convert("RGB"))
        assert (decode_image(content, name=path.name) == plain).all()
        assert image_size(content, name=path.name) == plain.shape[:2]


@pytest.mark.parametrize("name", ["grey16.png", "grey16.tif", "grey16.pgm", "float.tif"])
def test_deep_grey_is_scaled_to_eight_bits(name: str) -> None:
    image_HWC = decode_image(READ[name], name=name)
    for channel in range(3):
        assert (image_HWC[:, :, channel] == noise()[:, :, 0]).all()


def test_transparent_pixels_are_white() -> None:
    image = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (7, 7, 7, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    assert decode_image(encoded(image, "PNG"), name="x").tolist() == [[[200, 0, 0], [255] * 3, [127] * 3]]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    content = encoded(palette, "PNG", transparency=1)
    assert decode_image(content, name="x").tolist() == [[[10, 20, 30], [255] * 3]]


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_by_name(name: str) -> None:
    content, reason = REFUSED[name]
    for read in (decode_image, check_pixels):
        with pytest.raises(InputError, match=f"^{name} does not decode: .*{reason}") as caught:
            read(content, name=name)
        assert "\n" not in str(caught.value)
        assert caught.value.remedy


def test_no_decompression_bomb_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MAX_PIXELS", HEIGHT * WIDTH - 1)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    for name in ("rgb.png", "rgb.jpg", "grey.jpg"):
        with pytest.raises(InputError, match="30 x 24 pixels are too many"):
            decode_image(READ[name], name=name)


@pytest.mark.parametrize("start", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\n%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6"])
def test_ghostscript_is_never_started(start: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = put_ghostscript_on_path(tmp_path / "bin", monkeypatch)
    for read in (decode_image, check_pixels, image_size, decode_mask_image):
        with pytest.raises(InputError):
            read(start + b"%%BoundingBox: 0 0 30 24\n%%EndComments\nshowpage\n%%EOF\n", name="x.jpg")
    assert not program.started


def test_pillow_itself_would_start_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = put_ghostscript_on_path(tmp_path / "bin", monkeypatch)
    image = Image.open(io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 24\n%%EndComments\nshowpage\n"))
    with pytest.raises(OSError):
        image.load()
    assert program.started


def mask(image: Image.Image, **options: object) -> list[list[int]]:
    return decode_mask_image(encoded(image, "PNG", **options), name="x").astype(int).tolist()


@pytest.mark.parametrize("color", [(0, 0, 3), (1, 0, 0), (0, 1, 0), (255, 255, 255)])
def test_any_channel_that_is_not_zero_is_the_object(color: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (2, 1))
    image.putpixel((1, 0), color)
    assert mask(image) == [[0, 1]]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([0, 0, 0, *color])
    palette.putpixel((1, 0), 1)
    assert mask(palette) == [[0, 1]]
    opaque = image.copy()
    opaque.putalpha(255)
    assert mask(opaque) == [[0, 1]]


@pytest.mark.parametrize("mode", ["1", "L", "I;16"])
def test_grey_masks_of_any_depth(mode: str) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((1, 0), 1)
    assert mask(image) == [[0, 1]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_is_a_cut_out(mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (255, 255, 255, 0))  # transparent white, as background removers save it
    image.putpixel((1, 0), (0, 0, 0, 255))
    image.putpixel((2, 0), (9, 9, 9, 127))
    assert mask(image.convert(mode)) == [[0, 1, 0]]


def test_a_transparent_palette_entry_is_background() -> None:
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([255, 255, 255, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    assert mask(palette, transparency=0) == [[0, 1]]


def test_a_mask_is_turned_as_its_photo() -> None:
    stored = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    stored[:, 0] = 255
    upright = decode_mask_image(turned(Image.fromarray(stored), "PNG", 6), name="x")
    assert upright.shape == (WIDTH, HEIGHT)
    assert upright[0].all()
    assert not upright[1:].any()


def colors_of_sixteen_bits(color_type: int) -> bytes:
    """Return a PNG whose only pixel is faint; Pillow would drop the lower half of its channels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = {2: 3, 4: 2}[color_type]
    header = struct.pack(">IIBBBBB", 1, 1, 16, color_type, 0, 0, 0)
    pixels_ = zlib.compress(b"\x00" + b"\x00\x03" * channels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels_) + chunk(b"IEND", b"")


@pytest.mark.parametrize("color_type", [2, 4])
def test_masks_of_sixteen_bit_colors_are_refused(color_type: int) -> None:
    with pytest.raises(InputError, match="16-bit colors"):
        decode_mask_image(colors_of_sixteen_bits(color_type), name="x")


@pytest.mark.parametrize("kind", ["JPEG", "BMP"])
def test_a_mask_has_to_be_png(kind: str) -> None:
    with pytest.raises(InputError, match=f"it is {kind}; a mask has to be lossless PNG"):
        decode_mask_image(encoded(Image.new("L", (3, 3)), kind), name="x")


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Return a file with bytes changed, taken out, put in, or cut off at the end."""
    bytes_ = bytearray(content)
    at = int(random.integers(len(bytes_) if random.random() < 0.5 else min(len(bytes_), 200)))
    match int(random.integers(4)):
        case 0:
            bytes_[at] = int(random.integers(256))
        case 1:
            del bytes_[at : at + int(random.integers(1, 20))]
        case 2:
            bytes_[at:at] = random.bytes(4)
        case _:
            del bytes_[at:]
    return bytes(bytes_)


@pytest.mark.parametrize("name", READ)
def test_damaged_files_are_read_or_refused_and_preparation_agrees_with_training(name: str) -> None:
    random = np.random.default_rng(len(READ[name]))
    for _ in range(40):
        content = damaged(READ[name], random)
        try:
            shape = decode_image(content, name=name).shape
        except InputError:
            with pytest.raises(InputError, match="^[^\n]*$"):
                check_pixels(content, name=name)
            continue
        check_pixels(content, name=name)
        assert image_size(content, name=name) == shape[:2]
