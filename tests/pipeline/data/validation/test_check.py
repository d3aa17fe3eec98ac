"""`sharedris check`: exact counts, every bad file listed, exit code by what changes results, a sheet to look at."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import check as command
from pipeline.cli.parsing import read_options
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.validation.datasheet import choose_samples
from sharedris.errors import InputError
from tests.pipeline.data.refer_root import ReferRoot


def check(tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    code = command.run(read_options(command.Options, [*words, "--out", str(tmp_path / "found.json")]))
    return code, json.loads((tmp_path / "found.json").read_text())


def kinds(report: dict[str, Any], level: str = "error") -> set[str]:
    return {finding["kind"] for finding in report["findings"] if finding["level"] == level}


def test_a_good_set_passes(refer_root: ReferRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "out")
    code, report = check(tmp_path, "toy_unc", "--prepared", str(tmp_path / "out"))
    assert (code, report["ok"], kinds(report)) == (0, True, set())
    assert report["counts"]["train"]["expressions"] == 40
    assert "no finding would change results" in capsys.readouterr().out


def test_annotations_alone_give_the_published_counts(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = check(tmp_path, "refcoco_unc", "--root", str(shared_data / "refcoco-annotations"))
    text = capsys.readouterr().out
    for part, counts in {"val": (1500, 3811, 10834), "testA": (750, 1975, 5657), "testB": (750, 1810, 5095)}.items():
        assert tuple(report["counts"][part].values()) == counts == tuple(report["published"][part].values())
    assert code == 1
    assert kinds(report) == {"absent split", "no mask", "no image folder"}
    assert "none of the 7,596 refs has a mask" in text
    assert "train (16,994 images, 42,404 refs, 120,624 expressions)" in text
    assert "val, testA, testB: as published" in text


def test_all_bad_images_are_listed(refer_root: ReferRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    used = sorted({ref.image.file_name for ref in read_refer(refer_root.root, "toy_unc").refs})
    for name in used[:7]:
        (refer_root.root / "images/train2014" / name).unlink()
    (refer_root.root / "images/train2014" / used[8]).write_bytes(b"no image")
    code, report = check(tmp_path, "toy_unc", "--root", str(refer_root.root))
    text = capsys.readouterr().out
    assert code == 1
    assert kinds(report) == {"missing image", "undecodable image"}
    assert all(name in text for name in [*used[:7], used[8]])


def test_masks_and_boxes(refer_root: ReferRoot, tmp_path: Path) -> None:
    def outside(instances: dict[str, Any]) -> None:
        annotation = refer_root.first_annotation(instances)
        annotation.update(segmentation=[[200, 200, 220, 200, 220, 220]], bbox=[200, 200, 20, 20])

    refer_root.change_instances(outside)
    assert kinds(check(tmp_path, "toy_unc", "--root", str(refer_root.root))[1]) == {"empty mask", "mask outside"}
    refer_root.change_instances(
        lambda all_: refer_root.first_annotation(all_).update(
            segmentation=[[10, 10, 20, 10, 20, 20, 10, 20]], bbox=[30, 30, 10, 10]
        )
    )
    code, report = check(tmp_path, "toy_unc", "--root", str(refer_root.root))
    assert (code, kinds(report), kinds(report, "warning")) == (0, set(), {"mask and box differ"})


def test_duplicates_words_and_lengths(refer_root: ReferRoot, tmp_path: Path) -> None:
    def change(refs: list[dict[str, Any]]) -> None:
        refs[1]["sentences"][0]["sent"] = "..."
        refs[2]["sentences"][0]["sent"] = "a " * 60
        refs.append(refs[0])

    refer_root.change_refs(change)
    code, report = check(tmp_path, "toy_unc", "--root", str(refer_root.root), "--no-images")
    assert code == 1
    assert kinds(report) == {"duplicate ref_id", "no words"}
    assert kinds(report, "warning") == {"length", "images"}
    assert report["statistics"]["truncated"] == 1
    assert report["statistics"]["longest"] == 60


def test_images_in_two_splits(refer_root: ReferRoot, tmp_path: Path) -> None:
    refer_root.change_refs(lambda refs: next(ref for ref in refs if ref["split"] == "train").update(split="val"))
    code, report = check(tmp_path, "toy_unc", "--root", str(refer_root.root))
    shared = next(finding for finding in report["findings"] if finding["kind"] == "images in two splits")
    assert (code, shared["level"], len(shared["items"])) == (1, "error", 1)


def test_leakage_between_sets_is_shown(toys: Path, tmp_path: Path) -> None:
    code, report = check(tmp_path, "toyg_umd", "--prepared", str(toys))
    notes = [finding for finding in report["findings"] if finding["kind"] == "images held out by another set"]
    assert code == 0
    assert {finding["message"].split(" training images of ")[1].split(";")[0] for finding in notes} == {
        "toyg_umd are held out by toy_unc",
        "toyg_umd are held out by toyplus_unc",
        "toy_unc are held out by toyg_umd",
        "toyplus_unc are held out by toyg_umd",
    }


def test_embedded_images_are_looked_at(refer_root: ReferRoot, tmp_path: Path) -> None:
    prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "out", embed_images=True)
    shutil.rmtree(refer_root.root)
    code, report = check(tmp_path, "toy_unc", "--prepared", str(tmp_path / "out"), "--sheet", str(tmp_path / "s.html"))
    assert (code, report["ok"]) == (0, True)
    assert (tmp_path / "s.html").read_text().count("data:image/jpeg") > 10


def test_custom_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.jsonl").write_text('{"image": "none.png", "split": "val", "expression": "it", "polygons": []}\n')
    code, report = check(tmp_path, "mine", "--annotations", str(tmp_path / "x.jsonl"))
    assert (code, kinds(report)) == (1, {"missing image", "no expressions"})
    assert "line 1" in capsys.readouterr().out


def test_data_sheet_is_self_contained(refer_root: ReferRoot, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    code, _ = check(tmp_path, "toy_unc", "--root", str(refer_root.root), "--sheet", str(sheet))
    page = sheet.read_text()
    samples = choose_samples(read_refer(refer_root.root, "toy_unc").refs)
    assert code == 0
    assert page.count("<figure>") == page.count("data:image/jpeg;base64,") == len(samples) > 10
    assert all(f"<li>{text}</li>" in page for ref in samples for text in ref.expressions)
    charts = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert [base64.b64decode(chart).count(b"<svg") for chart in charts] == [1, 1, 1]
    assert not re.search(r"<script|https?://|src=\"(?!data:)", page)


def test_data_sheet_escapes_sentences(refer_root: ReferRoot, tmp_path: Path) -> None:
    hostile = "\"><script>alert('x')</script> & more"
    refer_root.change_refs(lambda refs: refs[0]["sentences"][0].update(sent=hostile))
    sheet = tmp_path / "sheet.html"
    check(tmp_path, "toy_unc", "--root", str(refer_root.root), "--sheet", str(sheet))
    page = sheet.read_text()
    assert "<script" not in page
    assert page.count("&#34;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; more") == 2  # text and alt


def test_data_sheet_without_images_or_masks(refer_root: ReferRoot, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    refer_root.change_instances(lambda all_: [entry.update(segmentation=[]) for entry in all_["annotations"]])
    check(tmp_path, "toy_unc", "--root", str(refer_root.root), "--no-images", "--sheet", str(sheet))
    page = sheet.read_text()
    assert page.count("<figure>") > 10
    assert page.count("data:image/jpeg") == 0
    assert "Object area, % of the image: no values" in page
    assert "undecodable" not in page


def test_data_sheet_shows_which_images_are_missing(refer_root: ReferRoot, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    refer_root.first_image().unlink()
    check(tmp_path, "toy_unc", "--root", str(refer_root.root), "--sheet", str(sheet))
    assert "image missing or undecodable" in sheet.read_text()


def test_prepared_pieces_are_counted_with_the_sets_own_tokenizer(toys: Path, tmp_path: Path) -> None:
    _, report = check(tmp_path, "toyg_umd", "--prepared", str(toys), "--text-tokens", "8")
    assert report["statistics"]["truncated"] > 0
    assert report["statistics"]["expressions"] == sum(
        counts.expressions for counts in load_manifest(toys, "toyg_umd").splits.values()
    )


def test_google_splits_share_images_by_design(refer_root: ReferRoot, tmp_path: Path) -> None:
    """RefCOCOg as Google divides it is read from refs(google).p; objects of one image lie in train and val."""

    def divide(refs: list[dict[str, Any]]) -> None:
        for position, ref in enumerate(refs):
            ref["split"] = "val" if position % 5 == 0 else "train"

    refer_root.change_refs(divide)
    folder = refer_root.root / "toy"
    (folder / "refs(unc).p").rename(folder / "refs(google).p")
    folder.rename(refer_root.root / "refcocog")
    _, report = check(tmp_path, "refcocog_google", "--root", str(refer_root.root))
    shared = next(finding for finding in report["findings"] if finding["kind"] == "images in two splits")
    assert shared["level"] == "note"
    assert shared["items"]
    assert kinds(report) == {"count differs"}
    with pytest.raises(InputError, match=r"refs\(umd\)\.p is missing"):
        check(tmp_path, "refcocog_umd", "--root", str(refer_root.root))


def test_unknown_words_are_counted_and_listed(
    refer_root: ReferRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(refs: list[dict[str, Any]]) -> None:
        held_out = [ref for ref in refs if ref["split"] == "val"]
        held_out[0]["sentences"][0].update(sent="The Red CIRCLE")
        held_out[1]["sentences"][0].update(sent="the 犬")

    prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "before")
    refer_root.change_refs(change)
    prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "after")
    _, before = check(tmp_path, "toy_unc", "--prepared", str(tmp_path / "before"))
    assert any("0 of" in finding["message"] for finding in before["findings"] if finding["kind"] == "words")
    code, after = check(tmp_path, "toy_unc", "--prepared", str(tmp_path / "after"))
    (words,) = [finding for finding in after["findings"] if finding["kind"] == "words"]
    assert (code, words["level"], words["items"]) == (0, "warning", ["The Red CIRCLE", "the 犬"])
    assert "pieces unknown ('T', 'R'" in capsys.readouterr().out
