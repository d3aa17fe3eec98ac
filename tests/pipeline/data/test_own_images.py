"""Own photographs: training, evaluation and predict see the same upright pixels, and odd files are one line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.masks import decode_mask
from pipeline.data.validation.sample_image import draw_sample
from sharedris.errors import InputError
from sharedris.image_input import normalize
from sharedris.predictor import image_tensor, open_image
from tests.pipeline.data.own_data import SIZE, check, open_split, prepare, write_lines
from tests.pipeline.data.run_lengths import run_lengths
from tests.sharedris.image_files import (
    files_that_are_read,
    files_that_are_refused,
    noise,
    put_ghostscript_on_path,
    turned,
)

READ = files_that_are_read()
REFUSED = files_that_are_refused()
POLYGON = [[2, 2, 20, 2, 20, 20, 2, 20]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with an image of every mode, in training and evaluation."""
    folder = tmp_path_factory.mktemp("modes")
    rows = []
    for number, (name, content) in enumerate(READ.items()):
        (folder / name).write_bytes(content)
        rows.append({"image": name, "polygons": POLYGON, "split": "train" if number % 2 else "val"})
    for words in ((), ("--embed-images",)):
        assert prepare(write_lines(folder, *rows), folder / f"out{len(words)}", *words) == 0
    return folder


@pytest.mark.parametrize("embedded", [0, 1], ids=["files", "embedded"])
def test_training_evaluation_and_predict_see_the_same_pixels(prepared: Path, embedded: int) -> None:
    seen = set()
    for split in ("train", "val"):
        data = open_split(prepared / f"out{embedded}", split)
        for index in range(0, len(data), 2):
            sample = data[index]
            image = open_image(prepared / sample.info.file_name)
            assert torch.equal(normalize([sample.image_CSS])[0], image_tensor(image, SIZE)), sample.info.file_name
            assert image.size == (sample.info.width, sample.info.height)
            seen.add(sample.info.file_name)
    assert seen == set(READ)


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_not_read_are_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = put_ghostscript_on_path(tmp_path / "bin", monkeypatch)
    (tmp_path / name).write_bytes(REFUSED[name][0])
    path = write_lines(tmp_path, {"image": name, "polygons": POLYGON})
    for use in (lambda: prepare(path, tmp_path / "out"), lambda: open_image(tmp_path / name)):
        with pytest.raises(InputError, match=f"{name}:? does not decode: .*{REFUSED[name][1]}"):
            use()
    code, kinds = check(path, tmp_path / "report.json")
    assert (code, kinds["undecodable image"]) == (1, "error")
    assert not (tmp_path / "out").exists()
    assert not program.started


def red_patch(kind: str, way: int) -> tuple[bytes, np.ndarray]:
    """A photo stored 60 x 40 and shown 40 x 60 with a red patch at 20..30 x 15..30 upright; and its mask."""
    upright = np.full((60, 40, 3), 200, dtype=np.uint8)
    upright[15:30, 20:30] = (255, 0, 0)
    mask = np.zeros((60, 40), dtype=np.uint8)
    mask[15:30, 20:30] = 1
    stored = {6: np.rot90(upright, 1), 8: np.rot90(upright, -1), 5: upright.swapaxes(0, 1)}[way]
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    return turned(Image.fromarray(np.ascontiguousarray(stored)), kind, way, **options), mask


@pytest.mark.parametrize(("kind", "way"), [("JPEG", 6), ("JPEG", 8), ("PNG", 6), ("WEBP", 5), ("TIFF", 6)])
@pytest.mark.parametrize("form", ["polygons", "mask", "rle"])
def test_a_photo_annotated_upright_trains_upright(form: str, kind: str, way: int, tmp_path: Path) -> None:
    content, mask_HW = red_patch(kind, way)
    (tmp_path / "photo").write_bytes(content)
    Image.fromarray(mask_HW).save(tmp_path / "mask.png")
    drawn = {
        "polygons": [[20, 15, 30, 15, 30, 30, 20, 30]],
        "mask": "mask.png",
        "rle": {"size": [60, 40], "counts": run_lengths(mask_HW)},
    }
    prepare(write_lines(tmp_path, {"image": "photo", form: drawn[form]}), tmp_path / "out")
    sample = open_split(tmp_path / "out", size=64)[0]
    assert (sample.info.height, sample.info.width) == (60, 40)
    assert (decode_mask(sample.info.mask_rle, height=60, width=40) == mask_HW).all()
    red_SS = (sample.image_CSS[0] > 150) & (sample.image_CSS[1] < 100)
    overlap = np.logical_and(red_SS.numpy(), sample.mask_SS).sum() / np.logical_or(red_SS.numpy(), sample.mask_SS).sum()
    assert overlap > 0.85


def test_a_photo_annotated_as_it_is_stored_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(red_patch("JPEG", 6)[0])
    Image.new("L", (60, 40), 1).save(tmp_path / "mask.png")
    path = write_lines(tmp_path, {"image": "photo.jpg", "mask": "mask.png"})
    with pytest.raises(InputError, match="mask.png is 40 x 60, its image 60 x 40 pixels"):
        prepare(path, tmp_path / "out")


def test_an_image_that_got_another_size_is_refused_at_training(tmp_path: Path) -> None:
    """As is a turned photo that an earlier version prepared: its masks lie across the upright image."""
    Image.fromarray(noise()).save(tmp_path / "a.png")
    path = write_lines(tmp_path, {"image": "a.png", "polygons": POLYGON})
    prepare(path, tmp_path / "out", "--no-images")  # no digest shows that the file changed
    for changed in (Image.fromarray(noise().swapaxes(0, 1).copy()), Image.new("RGB", (25, 25))):
        changed.save(tmp_path / "a.png")
        with pytest.raises(InputError, match=r"a\.png is .*its masks 24 x 30"):
            open_split(tmp_path / "out")[0]


def fifo(folder: Path, name: str) -> None:
    os.mkfifo(folder / name)


def link_outside(folder: Path, name: str) -> None:
    Image.fromarray(noise()).save(folder.parent / "secret.png")
    (folder / name).symlink_to("../secret.png")


def device(folder: Path, name: str) -> None:
    (folder / name).symlink_to("/dev/zero")


def a_folder(folder: Path, name: str) -> None:
    (folder / name).mkdir()


SPECIAL = {
    "not a regular file but a named pipe": fifo,
    "a link to a file outside its folder": link_outside,
    "not a regular file but a device": device,
    "not a regular file but a folder": a_folder,
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("field", ["image", "mask"])
def test_special_files_are_refused_and_nothing_waits(kind: str, field: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    Image.fromarray(noise()).save(folder / "a.png")
    Image.fromarray(noise()[:, :, 0]).save(folder / "m.png")
    names = {"image": "a.png", "mask": "m.png"}
    (folder / names[field]).unlink()
    SPECIAL[kind](folder, names[field])
    path = write_lines(folder, names)
    with pytest.raises(InputError, match=f"{names[field]} is {kind}"):
        prepare(path, tmp_path / "out")
    code, kinds = check(path, tmp_path / "report.json")
    assert (code, kinds[f"unreadable {field}"]) == (1, "error")


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_file_that_became_special_is_refused_at_training(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    Image.fromarray(noise()).save(folder / "a.png")
    prepare(write_lines(folder, {"image": "a.png", "polygons": POLYGON}), tmp_path / "out")
    (folder / "a.png").unlink()
    SPECIAL[kind](folder, "a.png")
    with pytest.raises(InputError, match=f"a.png is {kind}"):
        open_split(tmp_path / "out")[0]


@pytest.mark.parametrize("kind", [kind for kind in SPECIAL if "link" not in kind])
def test_predict_reads_regular_files_only(kind: str, tmp_path: Path) -> None:
    SPECIAL[kind](tmp_path, "a.png")
    with pytest.raises(InputError, match=f"a.png is {kind}"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["not a regular file but a named pipe", "not a regular file but a folder"])
def test_an_annotation_file_is_a_regular_file(kind: str, tmp_path: Path) -> None:
    SPECIAL[kind](tmp_path, "refs.jsonl")
    with pytest.raises(InputError, match=f"refs.jsonl is {kind}"):
        prepare(tmp_path / "refs.jsonl", tmp_path / "out")


@pytest.mark.parametrize("name", ["turned-6.jpg", "rgba.png"])
def test_the_data_sheet_shows_what_the_model_sees(name: str, prepared: Path) -> None:
    from pipeline.data.readers.custom import read_custom

    refs = read_custom(prepared / "refs.jsonl", "mine").refs
    ref = next(ref for ref in refs if ref.image.file_name == name)
    sheet = draw_sample(ref, lambda file_name: (prepared / file_name).read_bytes())
    (prepared / "sheet.jpg").write_bytes(sheet)
    with Image.open(prepared / "sheet.jpg") as image:
        assert (image.height > image.width) == (ref.image.height > ref.image.width)
