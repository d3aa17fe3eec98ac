"""Broken annotation folders: one clear line each, exit code 2's error, nothing half-written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.cli.main import main
from pipeline.cli.parsing import command_module, parse
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from sharedris.errors import InputError
from tests.pipeline.data.refer_root import ReferRoot

Break = Callable[[ReferRoot], object]


def replace_image(root: ReferRoot, content: bytes) -> None:
    root.first_image().write_bytes(content)


def truncate_image(root: ReferRoot) -> None:
    replace_image(root, root.first_image().read_bytes()[:-700])


def resize_image(root: ReferRoot) -> None:
    Image.new("RGB", (50, 50)).save(root.first_image())


def bomb(root: ReferRoot) -> None:
    Image.new("1", (12_000, 12_000)).save(root.first_image(), format="PNG")


def pipe(root: ReferRoot) -> None:
    root.first_image().unlink()
    os.mkfifo(root.first_image())


def folder_of_its_name(root: ReferRoot) -> None:
    root.first_image().unlink()
    root.first_image().mkdir()


def link_outside(root: ReferRoot) -> None:
    moved = root.first_image().rename(root.root / "secret.jpg")
    root.first_image().symlink_to(moved)


def set_annotation(name: str, value: object) -> Break:
    return lambda root: root.change_instances(lambda all_: root.first_annotation(all_).update({name: value}))


def set_image(name: str, value: object) -> Break:
    return lambda root: root.change_instances(lambda all_: all_["images"][0].update({name: value}))


def set_ref(name: str, value: object) -> Break:
    return lambda root: root.change_refs(lambda refs: refs[0].update({name: value}))


def set_sentence(name: str, value: object) -> Break:
    return lambda root: root.change_refs(lambda refs: refs[0]["sentences"][0].update({name: value}))


def drop(name: str) -> Break:
    return lambda root: root.change_instances(lambda all_: all_.pop(name))


CASES: dict[str, tuple[Break, str]] = {
    "no refs file": (lambda root: root.refs_path.unlink(), r"refs\(unc\)\.p is missing"),
    "no instances": (lambda root: root.instances_path.unlink(), r"instances\.json is missing"),
    "pickle with code": (lambda root: root.refs_path.write_bytes(b"cos\nsystem\n(S'true'\ntR."), r"os\.system"),
    "pickle is a web page": (lambda root: root.refs_path.write_bytes(b"<html>"), "not a readable pickle"),
    "pickle of no list": (lambda root: root.refs_path.write_bytes(b"K\x01."), "not hold a list of refs"),
    "empty list of refs": (lambda root: root.change_refs(lambda refs: refs.clear()), "not hold a list of refs"),
    "instances cut short": (
        lambda root: root.instances_path.write_text(root.instances_path.read_text()[:-900]),
        "not readable JSON",
    ),
    "instances without images": (drop("images"), "has no images"),
    "instances without annotations": (drop("annotations"), "has no annotations"),
    "ref without split": (set_ref("split", None), "split is None"),
    "ref of another set's split": (set_ref("split", "test"), "split is 'test'"),
    "ref id is no number": (set_ref("ref_id", "seven"), "ref_id is 'seven', not a whole number"),
    "ref id is a truth value": (set_ref("ref_id", True), "ref_id is True, not a whole number"),
    "ref id beyond 64 bits": (set_ref("ref_id", 2**70), "ref_id is 1180591620717411303424, which does not fit 64 bits"),
    "sentence id beyond 64 bits": (set_sentence("sent_id", -(2**70)), "sent_id is .*does not fit 64 bits"),
    "annotation id beyond 64 bits": (set_ref("ann_id", 2**63), "ann_id is .*does not fit 64 bits"),
    "half a character": (set_sentence("sent", "red \ud83d dog"), r"'red \\ud83d dog' holds half of a character"),
    "file name with half a character": (set_image("file_name", "a\udcff.jpg"), "file_name .*holds half of a character"),
    "category is infinite": (set_annotation("category_id", float("inf")), "category_id is inf, not a whole number"),
    "category of 6,000 digits": (
        lambda root: root.instances_path.write_text(
            root.instances_path.read_text().replace('"category_id": ', '"category_id": ' + "9" * 6000, 1)
        ),
        "not readable JSON: Exceeds the limit",
    ),
    "box of two numbers": (set_annotation("bbox", [1, 2]), r"bbox is \[1, 2\], not 4 numbers"),
    "box of texts": (set_annotation("bbox", ["1", "2", "3", "4"]), "not 4 numbers"),
    "box that is not finite": (set_annotation("bbox", [1, 2, 3, float("nan")]), "not 4 finite numbers"),
    "box beyond a double": (set_annotation("bbox", [1, 2, 3, 10**400]), "not 4 finite numbers"),
    "image without a height": (set_image("height", "tall"), "height is 'tall', not a whole number"),
    "ref id twice": (lambda root: root.change_refs(lambda refs: refs.append(refs[0])), "duplicate ref_id"),
    "annotation unknown": (set_ref("ann_id", 123456789), "lacks annotation 123456789"),
    "image unknown": (set_ref("image_id", 123456789), "lacks image 123456789"),
    "annotation of another image": (set_annotation("image_id", 3), "mismatched annotation"),
    "no sentences": (set_ref("sentences", []), "has no sentences"),
    "sentence without words": (set_sentence("sent", " ?! "), "has no words"),
    "sentence that is empty": (set_sentence("sent", ""), "has no words"),
    "sentence id twice": (
        lambda root: root.change_refs(
            lambda refs: refs[0]["sentences"][0].update(sent_id=refs[0]["sentences"][1]["sent_id"])
        ),
        "duplicate sent_id",
    ),
    "no mask": (set_annotation("segmentation", []), "has no mask"),
    "polygon of two points": (set_annotation("segmentation", [[1, 2, 3, 4]]), "polygon of 4 numbers"),
    "polygon of words": (set_annotation("segmentation", [["a"] * 6]), "not a number"),
    "run lengths of another size": (set_annotation("segmentation", {"size": [9, 9], "counts": [81]}), "RLE is for"),
    "annotation id twice": (
        lambda root: root.change_instances(lambda all_: all_["annotations"].append(root.first_annotation(all_))),
        "duplicate annotation id",
    ),
    "image id twice": (
        lambda root: root.change_instances(lambda all_: all_["images"].append(all_["images"][0])),
        "duplicate image id",
    ),
    "file name leaves the folder": (set_image("file_name", "../../secret.jpg"), "leaves the image folder"),
    "absolute file name": (set_image("file_name", "/etc/passwd"), "leaves the image folder"),
    "windows file name": (set_image("file_name", "C:\\x.jpg"), "leaves the image folder"),
    "image of no size": (set_image("height", 0), "height and width are 0"),
    "image of absurd size": (set_image("width", 10**9), "pixels are more than"),
    "image file missing": (lambda root: root.first_image().unlink(), "No such file"),
    "image file empty": (lambda root: replace_image(root, b""), "does not decode"),
    "image file is text": (lambda root: replace_image(root, b"hello"), "does not decode"),
    "image file cut short": (truncate_image, "does not decode: image file is truncated"),
    "image of another size": (resize_image, "is 50 x 50 pixels, the annotation says 80 x 96"),
    "image file is a pipe": (pipe, "not a regular file but a named pipe"),
    "image file is a folder": (folder_of_its_name, "not a regular file but a folder"),
    "image file links out of the folder": (link_outside, "is a link to a file outside its folder"),
    "decompression bomb": (bomb, "12000 x 12000 pixels are too many"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_one_clear_line_and_nothing_written(name: str, refer_root: ReferRoot, tmp_path: Path) -> None:
    breaks, expected = CASES[name]
    breaks(refer_root)
    with pytest.raises(InputError, match=expected) as caught:
        prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "prepared")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "prepared").exists()


def test_failing_leaves_what_was_prepared_before(refer_root: ReferRoot, tmp_path: Path) -> None:
    prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out/toy_unc").iterdir()}
    refer_root.first_image().unlink()
    with pytest.raises(InputError):
        prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out/toy_unc").iterdir()} == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("refer", "--root", "nowhere", "--data", "toy_unc"), "nowhere is not a folder"),
        (("refer", "--root", ".", "--data", "toy"), "unknown set 'toy'"),
        (("refer", "--root", "ROOT", "--data", "toy_unc", "--images", "nowhere"), "no image folder: nowhere"),
        (
            ("refer", "--root", "ROOT", "--data", "toy_unc", "--tokenizer", "none.spm"),
            "none.spm cannot be read",
        ),
        (
            ("refer", "--root", "ROOT", "--data", "toy_unc", "--tokenizer", "ROOT/toy/instances.json"),
            "not a sentencepiece",
        ),
        (("refer", "--root", "ROOT", "--data", "toy_unc", "--out", "nothing://x"), "nothing://x cannot be used"),
        (("refer", "--root", "ROOT", "--data", "toy_unc", "--no-images", "--embed-images"), "needs the images"),
        (("custom", "--annotations", "none.jsonl", "--data", "mine"), "none.jsonl cannot be read"),
        (("custom", "--annotations", "x.jsonl", "--data", "refcoco_unc"), "name of a known set"),
        (("custom", "--annotations", "x.jsonl", "--data", "../x"), "is not a set name"),
    ],
)
def test_bad_arguments(words: tuple[str, ...], expected: str, refer_root: ReferRoot, tmp_path: Path) -> None:
    words = tuple(word.replace("ROOT", str(refer_root.root)) for word in words)
    out = () if "--out" in words else ("--out", str(tmp_path / "prepared"))
    options = parse(("data", "prepare", words[0]), [*words[1:], *out])
    with pytest.raises(InputError, match=expected):
        command_module(("data", "prepare", words[0])).run(options)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize(
    "arguments",
    [["data", "prepare", "refer", "--root", "none", "--data", "toy_unc"], ["data", "synthesize", "--data", "toy_unc"]],
)
def test_a_place_that_cannot_be_written_is_found_before_the_work(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", "/proc/none/here"]) == 2
    assert "/proc/none/here cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("error", [shutil.Error([("a", "b", "No space left")]), OSError(errno.ENOSPC, "No space left")])
def test_a_disk_that_fills_leaves_nothing_behind(
    error: OSError, refer_root: ReferRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(_: Path, target: Path) -> None:
        target.mkdir()
        (target / "train.parquet").write_bytes(b"half")
        raise error

    monkeypatch.setattr("pipeline.data.prepared.prepare.shutil.copytree", copy)
    with pytest.raises((InputError, OSError), match="No space left"):
        prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
