"""`prepare --on-bad-ref`: a set with errors is refused, or prepared without their refs, which are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.prepared.manifest import Manifest, load_manifest
from pipeline.job import resolve_job
from pipeline.records import RECORD_SCHEMA, read_table, record_path
from pipeline.run import run_in_process
from sharedris.errors import InputError
from tests.pipeline.data.own_data import SET, check, open_split, prepare, write_lines

GOOD = [[3, 4, 20, 4, 20, 16, 3, 16]]
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "mask of black": ({"mask": "black.png"}, "empty mask"),
    "polygon outside": ({"polygons": [[-40, -40, -20, -40, -20, -20]]}, "empty mask"),
    "RLE of background": ({"rle": {"size": [24, 30], "counts": [720]}}, "empty mask"),
    "polygon for a larger image": ({"polygons": [[3, 4, 60, 4, 60, 48]]}, "mask outside"),
    "polygon of two points": ({"polygons": [[1, 2, 3, 4]]}, "malformed mask"),
    "two masks": ({"polygons": GOOD, "mask": "black.png"}, "no mask"),
    "missing mask": ({"mask": "none.png"}, "missing mask"),
    "missing image": ({"image": "none.png", "polygons": GOOD}, "missing image"),
    "damaged image": ({"image": "cut.png", "polygons": GOOD}, "undecodable image"),
    "no words": ({"polygons": GOOD, "expressions": ["?!"]}, "no words"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images and masks of own data."""
    for name in ("a.png", "b.png", "v.png"):
        Image.new("RGB", (30, 24), "teal").save(tmp_path / name)
    Image.new("L", (30, 24)).save(tmp_path / "black.png")
    Image.effect_noise((30, 24), 90).save(tmp_path / "noise.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "noise.png").read_bytes()[:300])
    return tmp_path


def rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    good = [{"image": "b.png", "polygons": GOOD}, {"image": "v.png", "polygons": GOOD, "split": "val"}]
    return [*good, *({"image": "a.png", **change} for change in changes)]


def manifest_of(folder: Path) -> Manifest:
    return load_manifest(folder / "out", SET)


@pytest.mark.parametrize("name", BAD)
def test_an_error_refuses_the_set_or_leaves_the_ref_out(name: str, folder: Path) -> None:
    change, kind = BAD[name]
    path = write_lines(folder, *rows(change))
    code, kinds = check(path, folder / "report.json")
    assert (code, kinds.get(kind)) == (1, "error")
    with pytest.raises(InputError, match=f"1 x {kind}") as caught:
        prepare(path, folder / "out")
    assert "--on-bad-ref skip" in caught.value.remedy
    assert not (folder / "out").exists()
    assert prepare(path, folder / "out", "--on-bad-ref", "skip") == 0
    manifest = manifest_of(folder)
    assert manifest.skipped == {kind: 1}
    assert {part: counts.refs for part, counts in manifest.splits.items()} == {"train": 1, "val": 1}
    assert json.loads((folder / "out" / SET / "dataset.json").read_text())["skipped"] == {kind: 1}
    assert len(open_split(folder / "out")) == 2


def test_an_image_in_two_splits_is_counted_or_left_out(folder: Path) -> None:
    path = write_lines(folder, *rows({"image": "v.png", "polygons": GOOD}, {"polygons": GOOD}))
    code, kinds = check(path, folder / "report.json")
    assert (code, kinds["images in two splits"]) == (0, "warning")
    assert prepare(path, folder / "out") == 0
    assert manifest_of(folder).warnings == {"images in two splits": 1}
    assert {part: counts.refs for part, counts in manifest_of(folder).splits.items()} == {"train": 3, "val": 1}
    assert prepare(path, folder / "skipped", "--on-bad-ref", "skip") == 0
    manifest = load_manifest(folder / "skipped", SET)
    assert (manifest.skipped, manifest.warnings) == ({"images in two splits": 1}, {})
    assert {part: counts.refs for part, counts in manifest.splits.items()} == {"train": 2, "val": 1}


def test_many_errors_are_one_line_and_all_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lines(folder, *rows(*(change for change, _ in BAD.values())))
    with pytest.raises(InputError, match="3 x empty mask") as caught:
        prepare(path, folder / "out")
    assert "1 x undecodable image" in caught.value.message
    assert "\n" not in str(caught.value)
    prepare(path, folder / "out", "--on-bad-ref", "skip")
    skipped = manifest_of(folder).skipped
    assert sum(skipped.values()) == len(BAD)
    assert skipped["empty mask"] == 3
    assert "left out: 3 x empty mask, 1 x " in capsys.readouterr().out


def test_a_set_without_errors_has_the_same_rows_with_either_option(folder: Path) -> None:
    path = write_lines(folder, *rows())
    prepare(path, folder / "out")
    first = manifest_of(folder)
    prepare(path, folder / "out", "--on-bad-ref", "skip")
    second = manifest_of(folder)
    assert first.fingerprint == second.fingerprint
    assert first.skipped == first.warnings == second.skipped == {}
    assert not {"skipped", "warnings"} & set(json.loads((folder / "out" / SET / "dataset.json").read_text()))


def test_what_was_skipped_is_not_taken_for_prepared_without_the_option(folder: Path) -> None:
    path = write_lines(folder, *rows({"mask": "black.png"}))
    prepare(path, folder / "out", "--on-bad-ref", "skip")
    with pytest.raises(InputError, match="1 x empty mask"):
        prepare(path, folder / "out")
    assert manifest_of(folder).skipped == {"empty mask": 1}


@pytest.mark.parametrize("name", ["mask of black", "damaged image"])
def test_a_set_of_errors_only_is_refused_with_either_option(name: str, folder: Path) -> None:
    path = write_lines(folder, {"image": "a.png", **BAD[name][0]})
    with pytest.raises(InputError, match=f"has no refs: 1 x {BAD[name][1]} left out"):
        prepare(path, folder / "out", "--on-bad-ref", "skip")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("stray", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_a_stray_part_of_a_polygon_is_left_out_and_counted(stray: list[Any], folder: Path) -> None:
    path = write_lines(folder, *rows({"polygons": [GOOD[0], stray]}))
    assert check(path, folder / "report.json")[1]["stray polygon part"] == "warning"
    prepare(path, folder / "out")
    assert manifest_of(folder).skipped == {"stray polygon part": 1}
    assert manifest_of(folder).splits["train"].refs == 2


def test_every_record_says_what_was_left_out(folder: Path, micro_run: RunConfig) -> None:
    path = write_lines(folder, *[row for _ in range(4) for row in rows()], *rows({"mask": "black.png"})[2:])
    prepare(path, folder / "out", "--on-bad-ref", "skip")
    config = replace(
        micro_run,
        data=replace(micro_run.data, train_sets=(SET,), evaluate_splits=(f"{SET}/val",)),
        train=replace(micro_run.train, epochs=1, global_batch_size=4),
    )
    execution = ExecutionConfig(device="cpu", prepared_root=str(folder / "out"), runs_root=str(folder / "runs"))
    provenance = {"git_commit": "", "git_dirty": False, "versions_json": "{}"}
    job = resolve_job(config, execution, provenance=provenance)
    run_in_process(job)
    rows_ = read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)
    assert {json.loads(text)[SET]["empty mask"] for text in rows_["skipped_refs_json"]} == {1}
    assert set(rows_["skipped"]) == {0}  # samples that training could not read: another count
