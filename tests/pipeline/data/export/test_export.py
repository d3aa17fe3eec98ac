"""A set that is exported and prepared again is the same set; the export loads with the tools that it is for."""

from __future__ import annotations

import gc
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO

from pipeline.cli.main import main
from pipeline.data.copies.identify import identify
from pipeline.data.copies.index import index_refer
from pipeline.data.export import hf as hf_export
from pipeline.data.export.coco import write_coco
from pipeline.data.export.hf import FEATURES, write_hf
from pipeline.data.masks import decode_mask
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.prepared.split_table import read_split
from pipeline.data.readers.hf import read_hf
from pipeline.data.readers.images import content_digest
from pipeline.data.readers.refer import read_refer
from tests.conftest import TOY


@pytest.fixture(scope="module")
def exported(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest set as parquet of `datasets`."""
    out = tmp_path_factory.mktemp("export") / "hf"
    assert main(["data", "export", TOY, "--format", "hf", "--prepared", str(toy_root), "--out", str(out)]) == 0
    return out


def test_an_export_prepares_to_the_same_fingerprint(exported: Path, toy_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    assert main(["data", "prepare", "hf", str(exported), "--data", TOY, "--out", str(out)]) == 0
    before, after = load_manifest(toy_root, TOY), load_manifest(out, TOY)
    assert after.fingerprint == before.fingerprint
    assert after.rows_digests == before.rows_digests
    assert after.embedded
    assert main(["data", "check", TOY, "--prepared", str(out)]) == 0
    assert not prepare_source(read_hf(exported, TOY), out, embed_images=True).written
    given = tmp_path / "given"
    words = ["--data", TOY, "--out", str(given), "--tokenizer", str(exported / "tokenizer.model")]
    assert main(["data", "prepare", "hf", str(exported), *words]) == 0
    assert load_manifest(given, TOY).fingerprint == before.fingerprint


def test_real_photographs_come_back_the_same(shared_data: Path, toy_root: Path, tmp_path: Path) -> None:
    name, tokenizer = "refcoco_unc", toy_root / TOY / "tokenizer.model"
    before = prepare_source(
        read_refer(shared_data / "mini-refcoco", name), tmp_path / "first", tokenizer=tokenizer
    ).manifest
    write_hf(before, tmp_path / "hf")
    after = prepare_source(read_hf(tmp_path / "hf", name), tmp_path / "p", tokenizer=tokenizer, embed_images=True)
    assert after.manifest.fingerprint == before.fingerprint


def test_unpacked_images_are_removed(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = read_hf(exported, TOY)
    assert source.image_root.parent == tmp_path
    assert any(source.image_root.iterdir())
    del source
    gc.collect()
    assert not any(tmp_path.iterdir())


def test_shards_have_the_layout_of_datasets(exported: Path, toy_root: Path) -> None:
    file = pq.ParquetFile(exported / "data" / "val-00000-of-00001.parquet")
    assert json.loads(file.schema_arrow.metadata[b"huggingface"]) == {"info": {"features": FEATURES}}
    assert file.schema_arrow.names == list(FEATURES)
    table = read_split(load_manifest(toy_root, TOY), "val")
    for row, ref in zip(file.read().to_pylist(), table.to_pylist(), strict=True):
        assert content_digest(row["image"]["bytes"]) == ref["image_digest"]
        assert row["sentences"] == ref["expressions"]
        assert row["mask"] == {"size": [ref["height"], ref["width"]], "counts": ref["mask_rle"].decode()}
    card = (exported / "README.md").read_text()
    assert f"num_examples: {table.num_rows}\n" in card
    assert 'path: "data/val-*"' in card


def test_large_splits_are_cut_into_shards(toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_export, "ROWS_IN_GROUP", 3)
    monkeypatch.setattr(hf_export, "SHARD_BYTES", 40_000)
    manifest = load_manifest(toy_root, TOY)
    write_hf(manifest, tmp_path / "hf")
    shards = sorted((tmp_path / "hf" / "data").glob("train-*"))
    assert len(shards) > 1
    assert shards[-1].name == f"train-{len(shards) - 1:05d}-of-{len(shards):05d}.parquet"
    source = read_hf(tmp_path / "hf", TOY)
    assert prepare_source(source, tmp_path / "p", embed_images=True).manifest.fingerprint == manifest.fingerprint


def test_coco_loads_with_pycocotools(toy_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "coco"
    assert main(["data", "export", TOY, "--format", "coco", "--prepared", str(toy_root), "--out", str(out)]) == 0
    coco = COCO(str(out / "annotations" / "instances_train.json"))
    rows = read_split(load_manifest(toy_root, TOY), "train").to_pylist()
    assert len(coco.anns) == len(rows)
    for ref in rows:
        annotation = coco.anns[ref["ref_id"]]
        expected_HW = decode_mask(ref["mask_rle"], height=ref["height"], width=ref["width"])
        assert np.array_equal(coco.annToMask(annotation), expected_HW)
        assert annotation["sentences"] == ref["expressions"]
        image = out / "images" / coco.imgs[annotation["image_id"]]["file_name"]
        assert content_digest(image.read_bytes()) == ref["image_digest"]


def test_an_export_is_identified(exported: Path, toy_root: Path, tmp_path: Path) -> None:
    write_coco(load_manifest(toy_root, TOY), tmp_path / "coco")
    index = index_refer(toy_root.parent / "refer")
    for folder in (exported, tmp_path / "coco"):
        (identity,) = identify(folder, index)
        assert identity.is_whole
        assert [split.size.split for split in identity.splits] == ["train", "val", "testA", "testB"]


def test_nothing_is_written_where_it_cannot_be_whole(
    toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["data", "export", TOY, "--format", "hf", "--prepared", str(toy_root), "--out"]
    (tmp_path / "there").mkdir()
    assert main([*words, str(tmp_path / "there")]) == 2
    monkeypatch.setattr("pipeline.data.export.rows.content_digest", lambda content: "0" * 32)
    assert main([*words, str(tmp_path / "new")]) == 2
    assert "is not the image that was prepared" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["there"]


def _write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "val-00000-of-00001.parquet")
    return folder


@pytest.fixture
def row(exported: Path) -> dict[str, Any]:
    """The first row of an export."""
    table = pq.read_table(exported / "data" / "val-00000-of-00001.parquet")
    values: dict[str, Any] = table.slice(0, 1).to_pylist()[0]
    return values


def test_the_columns_of_public_copies_are_read(row: dict[str, Any], tmp_path: Path) -> None:
    """Of lmms-lab (a flat polygon), of jxu124 (JSON text, images in a folder), of refcoco-m (samples)."""
    content, size = row["image"]["bytes"], {"height": row["height"], "width": row["width"]}
    polygon = [10.0, 10.0, 40.0, 10.0, 40.0, 30.0, 10.0, 30.0]
    lmms = {
        "question_id": "1",
        "image": {"bytes": content, "path": None},
        "answer": ["left thing", "the thing"],
        "segmentation": polygon,
        "bbox": [10.0, 10.0, 30.0, 20.0],
        "iscrowd": 0,
        "file_name": "COCO_train2014_000000580957_4.jpg",
    }
    jxu124 = {
        "sent_ids": [222],
        "file_name": "COCO_train2014_000000580957_4.jpg",
        "ann_id": 5,
        "ref_id": 77,
        "image_id": 580957,
        "split": "val",
        "sentences": [{"raw": "Left thing.", "sent": "left thing", "sent_id": 222, "tokens": ["left", "thing"]}],
        "raw_anns": json.dumps({"segmentation": [polygon], "id": 5}),
        "raw_image_info": json.dumps(size),
        "image_path": "coco/train2014/COCO_train2014_000000580957.jpg",
        "bbox": [10.0, 10.0, 40.0, 30.0],
    }
    sample = {"id": 9, "sentences": ["left thing"], "bbox": row["bbox"], "mask": row["mask"]}
    refcoco_m = {"image": row["image"], "image_id": 580957, "file_name": "a.jpg", "samples": [sample, sample]}
    images = tmp_path / "images"
    images.mkdir()
    (images / "COCO_train2014_000000580957.jpg").write_bytes(content)
    first = read_hf(_write(tmp_path / "lmms", [lmms]), "refcoco_unc")
    second = read_hf(_write(tmp_path / "jxu124", [jxu124]), "refcoco_unc", images=images)
    third = read_hf(_write(tmp_path / "refcoco-m", [refcoco_m]), "refined")
    for source in (first, second, third):
        assert not source.problems
        assert (source.refs[0].image.image_id, source.refs[0].split) == (580957, "val")
    assert first.refs[0].mask_rle == second.refs[0].mask_rle
    assert first.refs[0].image.file_name == second.refs[0].image.file_name == "COCO_train2014_000000580957.jpg"
    assert second.refs[0].sent_ids == (222,)
    assert [ref.ann_id for ref in third.refs] == [9, 9]
    assert prepare_source(second, tmp_path / "p").manifest.splits["val"].refs == 1


BAD = {
    "file_name": ["../../etc/x.jpg", "/x.jpg", "a\u0000b.jpg"],
    "ref_id": [2**62 * 2.5, 1.5],
    "height": [-3, 10**9],
    "mask": [{"size": [1, 1], "counts": "a"}, {"size": None, "counts": None}, None],
    "image": [{"bytes": b"no image", "path": "x.jpg"}],
    "sentences": [[], ["   "], ["..."]],
    "bbox": [[float("nan")] * 4, [1.0]],
}


@pytest.mark.parametrize("field", BAD)
def test_a_bad_value_is_one_problem_of_its_row(field: str, row: dict[str, Any], tmp_path: Path) -> None:
    for number, value in enumerate(BAD[field]):
        folder = _write(tmp_path / str(number), [{**row, field: value}])
        before = set(tmp_path.rglob("*"))
        words = ["data", "prepare", "hf", str(folder), "--data", TOY, "--out", str(tmp_path / "prepared")]
        assert main(words) == 2, value
        assert set(tmp_path.rglob("*")) == before
