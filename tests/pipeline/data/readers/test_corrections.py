"""Corrected masks are joined by image and sentences, and make a set of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.main import main
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.masks import decode_mask, encode_mask
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.split_table import read_split
from tests.conftest import TOY

Row = dict[str, Any]


@pytest.fixture
def refer(toy_root: Path) -> Path:
    """The REFER root of the smallest set."""
    return toy_root.parent / "refer"


@pytest.fixture
def refs(toy_root: Path) -> list[Row]:
    """The refs of its val."""
    rows: list[Row] = read_split(load_manifest(toy_root, TOY), "val").to_pylist()
    return rows


def _smaller(ref: Row) -> bytes:
    """A mask without the object's first row of pixels."""
    mask_HW = decode_mask(ref["mask_rle"], height=ref["height"], width=ref["width"]).copy()
    mask_HW[np.flatnonzero(mask_HW.any(axis=1))[0]] = 0
    return encode_mask(mask_HW)


def _write(folder: Path, refs: list[Row], refer: Path) -> Path:
    """Write refs in the layout of refcoco-m: a row per image, its refs in `samples`."""
    by_image: dict[int, Row] = {}
    for number, ref in enumerate(refs):
        name = ref["file_name"]
        content = (refer / "images" / "train2014" / name).read_bytes()
        row = by_image.setdefault(
            ref["image_id"],
            {
                "image": {"bytes": content, "path": name},
                "image_id": ref["image_id"],
                "file_name": name,
                "samples": [],
            },
        )
        row["samples"].append(
            {
                "id": 7000 + number,
                "image_id": ref["image_id"],
                "category": "circle",
                "supercategory": "shape",
                "label": "circle",
                "sentences": ref["expressions"],
                "bbox": [0.0, 0.0, 1.0, 1.0],
                "mask": {"counts": _smaller(ref).decode(), "size": [ref["height"], ref["width"]]},
            }
        )
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(list(by_image.values())), folder / "validation-00000-of-00001.parquet")
    return folder


def _prepare(folder: Path, refer: Path, out: Path) -> int:
    words = [
        "data",
        "prepare",
        "refer",
        "--root",
        str(refer),
        "--data",
        TOY,
        "--corrections",
        str(folder),
        "--out",
        str(out),
    ]
    return main(words)


def test_corrected_masks_are_a_set_with_the_ids_of_the_published_one(
    refs: list[Row], refer: Path, tmp_path: Path
) -> None:
    kept = [ref for ref in refs if len(ref["expressions"]) > 1]
    shorter = {**kept[0], "expressions": kept[0]["expressions"][1:]}
    folder = _write(tmp_path / "m", [shorter, *kept[1:]], refer)
    assert _prepare(folder, refer, tmp_path / "out") == 0
    assert main(["data", "check", TOY, "--root", str(refer), "--corrections", str(folder)]) == 0
    manifest = load_manifest(tmp_path / "out", f"{TOY}+refcocom")
    rows = {row["ref_id"]: row for row in read_split(manifest, "val").to_pylist()}
    assert list(manifest.splits) == ["val"]
    assert rows.keys() == {ref["ref_id"] for ref in kept}
    for ref in kept:
        assert rows[ref["ref_id"]]["mask_rle"] == _smaller(ref)
        assert rows[ref["ref_id"]]["image_digest"] == ref["image_digest"]
    assert rows[kept[0]["ref_id"]]["sent_ids"] == kept[0]["sent_ids"][1:]
    left_out = {"sentence without correction": 1}
    if len(kept) < len(refs):
        left_out["no corrected mask"] = len(refs) - len(kept)
    assert manifest.skipped == left_out
    assert manifest.family == "toy"
    assert len(ReferDataset(tmp_path / "out", f"{TOY}+refcocom/val", image_size=32, text_tokens=10)) > len(kept)


@pytest.mark.parametrize("change", [{"expressions": ["words of no ref"]}, {"image_id": 5}])
def test_corrections_of_another_set_are_refused(
    change: Row, refs: list[Row], refer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _write(tmp_path / "m", [{**refs[0], **change}, *refs[1:]], refer)
    assert _prepare(folder, refer, tmp_path / "out") == 2
    assert "correction of no ref" in capsys.readouterr().err
    assert main(["data", "check", TOY, "--root", str(refer), "--corrections", str(folder)]) == 1
    assert "correction of no ref" in capsys.readouterr().out
    none = _write(tmp_path / "none", [{**ref, "expressions": ["nothing"]} for ref in refs], refer)
    assert _prepare(none, refer, tmp_path / "out") == 2
    assert "corrects no ref" in capsys.readouterr().err
    assert _prepare(tmp_path / "absent", refer, tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_a_second_correction_and_another_size_are_named(
    refs: list[Row], refer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _prepare(_write(tmp_path / "twice", [refs[0], *refs], refer), refer, tmp_path / "out") == 2
    assert "duplicate correction" in capsys.readouterr().err
