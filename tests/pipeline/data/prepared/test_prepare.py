"""The prepared format: readable by pandas in a line, whole or absent, the same for the same input, wherever it lies."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.masks import decode_mask
from pipeline.data.prepared.embedded_images import EmbeddedImages
from pipeline.data.prepared.manifest import EMBEDDED, REF_SCHEMA, data_fingerprint, load_manifest, prepared_sets
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.storage import open_place
from sharedris.errors import InputError
from tests.pipeline.data.refer_root import ReferRoot


def test_rows_are_what_was_read(toys_refer: Path, toys: Path) -> None:
    rows = pd.read_parquet(toys / "toy_unc" / "val.parquet")
    refs = [ref for ref in read_refer(toys_refer, "toy_unc").refs if ref.split == "val"]
    assert list(rows.columns) == REF_SCHEMA.names
    assert rows["ref_id"].tolist() == [ref.ref_id for ref in refs]
    assert [tuple(texts) for texts in rows["expressions"]] == [ref.expressions for ref in refs]
    first = rows.iloc[0]
    mask_HW = decode_mask(first["mask_rle"], height=first["height"], width=first["width"])
    assert mask_HW.shape == (80, 96)
    assert mask_HW.sum() == first["area"] == round(first["area_ratio"] * 80 * 96)
    assert rows["image_digest"].str.len().eq(32).all()


def test_manifest_counts_and_tokenizer(toys: Path) -> None:
    manifest = load_manifest(toys, "toy_unc")
    rows = pd.read_parquet(toys / "toy_unc" / "train.parquet")
    counts = manifest.splits["train"]
    assert (counts.images, counts.refs) == (rows["image_id"].nunique(), len(rows))
    assert counts.expressions == rows["expressions"].str.len().sum() == 120
    assert list(manifest.splits) == ["train", "val", "testA", "testB"]
    assert manifest.tokenizer_path.is_file()
    assert prepared_sets(toys) == ["toy_unc", "toyg_umd", "toyplus_unc"]


def test_same_input_again_is_a_no_op_and_a_change_is_not(refer_root: ReferRoot, tmp_path: Path) -> None:
    def prepare() -> tuple[bool, str]:
        done = prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "out")
        return done.written, done.manifest.fingerprint

    first, again = prepare(), prepare()
    assert (first[0], again[0]) == (True, False)
    assert first[1] == again[1] == load_manifest(tmp_path / "out", "toy_unc").fingerprint
    image = refer_root.first_image()
    image.write_bytes(image.read_bytes() + b"\0")
    pixels = prepare()
    refer_root.change_refs(lambda refs: refs[0]["sentences"][0].update(sent="another thing"))
    words = prepare()
    assert pixels[0]
    assert words[0]
    assert len({first[1], pixels[1], words[1]}) == 3
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_fingerprint_knows_no_place(refer_root: ReferRoot, tmp_path: Path) -> None:
    shutil.copytree(refer_root.root, tmp_path / "elsewhere")
    here = prepare_source(read_refer(refer_root.root, "toy_unc"), tmp_path / "a").manifest
    there = prepare_source(read_refer(tmp_path / "elsewhere", "toy_unc"), tmp_path / "b").manifest
    assert here.fingerprint == there.fingerprint
    assert here.image_root != there.image_root


def test_fingerprint_of_several_sets(toys: Path) -> None:
    both = data_fingerprint(toys, ["toy_unc", "toyplus_unc"])
    assert both == data_fingerprint(str(toys), ["toyplus_unc", "toy_unc", "toy_unc"])
    assert both != data_fingerprint(toys, ["toy_unc"])
    assert len(both) == 16


@pytest.mark.parametrize("root", ["file://{}/remote", "fsspec+memory://bucket/prepared"])
def test_other_file_systems(root: str, refer_root: ReferRoot, tmp_path: Path) -> None:
    root = root.format(tmp_path)
    source = read_refer(refer_root.root, "toy_unc")
    local = prepare_source(source, tmp_path / "local").manifest
    prepared = prepare_source(source, root, embed_images=True)
    assert prepared.written
    assert prepared.manifest.fingerprint == local.fingerprint
    assert not prepare_source(source, root, embed_images=True).written
    assert prepared_sets(root) == ["toy_unc"]
    shutil.rmtree(refer_root.root / "images")  # embedded: the folder is not needed any more
    dataset = ReferDataset(root, "toy_unc/val", image_size=32, text_tokens=12)
    assert dataset[0].image_CSS.float().std() > 5
    assert len(dataset) == local.splits["val"].expressions


def test_embedded_images_are_the_same_pixels(toys_refer: Path, toys: Path, tmp_path: Path) -> None:
    source = read_refer(toys_refer, "toy_unc")
    prepare_source(source, tmp_path, embed_images=True, tokenizer=load_manifest(toys, "toy_unc").tokenizer_path)
    embedded = ReferDataset(tmp_path, "toy_unc/testA", image_size=48, text_tokens=12)
    folder = ReferDataset(toys, "toy_unc/testA", image_size=48, text_tokens=12)
    for index in range(len(folder)):
        assert (embedded[index].image_CSS == folder[index].image_CSS).all()
        assert embedded[index].info == folder[index].info
    assert (tmp_path / "toy_unc" / "images.arrow").stat().st_size > 50_000
    assert len(pd.read_feather(tmp_path / "toy_unc" / "images.arrow")) == len({r.image.file_name for r in source.refs})


def test_without_train_split_the_tokenizer_says_what_it_saw(shared_data: Path, tmp_path: Path) -> None:
    manifest = prepare_source(read_refer(shared_data / "mini-refcoco", "refcoco_unc"), tmp_path).manifest
    assert manifest.tokenizer_training == ("val", "testA", "testB")
    assert manifest.splits["testB"].expressions == 33


def test_without_images_is_said(toys_refer: Path, tmp_path: Path) -> None:
    source = dataclasses.replace(read_refer(toys_refer, "toy_unc"), image_root=Path("/nowhere"))
    manifest = prepare_source(source, tmp_path, read_images=False).manifest
    assert not manifest.images_read
    assert pd.read_parquet(tmp_path / "toy_unc/val.parquet")["image_digest"].eq("").all()
    dataset = ReferDataset(tmp_path, "toy_unc/val", image_size=32, text_tokens=12)
    with pytest.raises(InputError, match="nowhere"):
        dataset[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "is not prepared in"),
        ("{", "is damaged"),
        ('{"schema_version": 99}', "schema version 99"),
        ("[]", "damaged"),
        ('{"schema_version": 1}', "is damaged"),
    ],
)
def test_unreadable_manifest_is_one_line(content: str | None, expected: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "toy_unc").mkdir()
        (tmp_path / "toy_unc/dataset.json").write_text(content)
    with pytest.raises(InputError, match=expected):
        load_manifest(tmp_path, "toy_unc")


def test_damaged_parquet_is_one_line(toys: Path, tmp_path: Path) -> None:
    shutil.copytree(toys, tmp_path / "copy")
    (tmp_path / "copy/toy_unc/val.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"val\.parquet cannot be read"):
        ReferDataset(tmp_path / "copy", "toy_unc/val", image_size=32, text_tokens=12)


def test_unknown_split_lists_what_there_is(shared_data: Path, tmp_path: Path) -> None:
    prepare_source(read_refer(shared_data / "mini-refcoco", "refcoco_unc"), tmp_path)
    with pytest.raises(InputError, match="has no split 'train'") as caught:
        ReferDataset(tmp_path, "refcoco_unc/train", image_size=32, text_tokens=12)
    assert caught.value.remedy == "It has: val, testA, testB"


def test_partial_files_never_count_as_prepared(tmp_path: Path) -> None:
    place = open_place(tmp_path) / "x" / "y.json"
    place.write_bytes(b"1")
    assert json.loads(place.read_bytes()) == 1
    assert (open_place(tmp_path) / "x").children() == ["y.json"]
    assert np.array_equal(open_place(f"file://{tmp_path}").children(), ["x"])


def test_an_embedded_image_that_cannot_be_read_is_named(toys_refer: Path, toys: Path, tmp_path: Path) -> None:
    source = read_refer(toys_refer, "toy_unc")
    prepare_source(source, tmp_path, embed_images=True, tokenizer=load_manifest(toys, "toy_unc").tokenizer_path)
    images = load_manifest(tmp_path, "toy_unc").place / EMBEDDED
    with pytest.raises(InputError, match=r"other\.jpg in .* cannot be read.*Prepare the set again with --embed-images"):
        EmbeddedImages(images).content("other.jpg")
    content = Path(images.path).read_bytes()
    Path(images.path).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        EmbeddedImages(images)


def test_a_lower_case_tokenizer_is_another_fingerprint(refer_root: ReferRoot, tmp_path: Path) -> None:
    source = read_refer(refer_root.root, "toy_unc")
    plain = prepare_source(source, tmp_path)
    lower = prepare_source(source, tmp_path, lower_case=True)
    assert lower.written  # the same input, read in another way
    assert not prepare_source(source, tmp_path, lower_case=True).written
    assert lower.manifest.fingerprint != plain.manifest.fingerprint
    dataset = ReferDataset(tmp_path, "toy_unc/val", image_size=32, text_tokens=12)
    assert np.array_equal(dataset.tokenizer.encode("The CIRCLE")[0], dataset.tokenizer.encode("the circle")[0])
    assert dataset.unknown_pieces().unknown == 0
    with pytest.raises(InputError, match="--lower-case is for a tokenizer that is trained"):
        prepare_source(source, tmp_path, lower_case=True, tokenizer=lower.manifest.tokenizer_path)
