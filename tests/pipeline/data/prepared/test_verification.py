"""Nothing else than what was prepared is trained or scored on; `check` finds what loading does not read."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.dataset import image_store
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.prepared.fingerprint import file_digest
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.prepare import Prepared, prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.job import resolve_job
from sharedris.errors import InputError
from sharedris.sentencepiece_tokenizer import train_tokenizer

SET = "toyplus_unc"
NEW_FIELDS = ("rows_digests", "file_digests", "image_folder")


class OwnSet:
    """A prepared set with its images, for one test to damage."""

    def __init__(self, folder: Path, *, embedded: bool = False) -> None:
        self.folder, self.root, self.embedded = folder, folder / "prepared", embedded
        write_synthetic(folder / "refer", SET, expressions=40, seed=4)
        self.prepare()
        self.images = folder / "refer/images/train2014"
        self.manifest = self.root / SET / "dataset.json"
        self.val = self.root / SET / "val.parquet"

    def prepare(self) -> Prepared:
        return prepare_source(read_refer(self.folder / "refer", SET), self.root, embed_images=self.embedded)

    def load(self) -> ReferDataset:
        dataset = ReferDataset(self.root, f"{SET}/val", image_size=32, text_tokens=12)
        for index in range(len(dataset)):
            dataset[index]
        return dataset

    def check(self) -> int:
        return main(["data", "check", SET, "--prepared", str(self.root)])

    def change_manifest(self, change: Callable[[dict[str, Any]], object]) -> None:
        values = json.loads(self.manifest.read_text())
        change(values)
        self.manifest.write_text(json.dumps(values))

    def make_old(self) -> None:
        """Leave what version 0.1 wrote."""
        self.change_manifest(lambda values: [values.pop(name) for name in NEW_FIELDS])


@pytest.fixture
def own(tmp_path: Path) -> OwnSet:
    return OwnSet(tmp_path)


def change_rows(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path, compression="zstd")


def reverse_masks(table: pa.Table) -> pa.Table:
    position = table.column_names.index("mask_rle")
    return table.set_column(position, "mask_rle", pa.array(table["mask_rle"].to_pylist()[::-1], pa.binary()))


def swap_sentences(table: pa.Table) -> pa.Table:
    position = table.column_names.index("expressions")
    lists = table["expressions"].to_pylist()
    return table.set_column(
        position, "expressions", pa.array([lists[-1], *lists[1:-1], lists[0]], table.schema[position].type)
    )


ROW_CHANGES = {
    "masks reversed": reverse_masks,
    "sentences swapped": swap_sentences,
    "a row less": lambda table: table[1:],
}


def paint_red(path: Path) -> None:
    with Image.open(path) as image:
        Image.new("RGB", image.size, (255, 0, 0)).save(path, format="JPEG")


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("change", [paint_red, change_a_byte], ids=["all red", "a bit of each"])
def test_a_changed_image_is_refused_and_found(
    change: Callable[[Path], None], own: OwnSet, capsys: pytest.CaptureFixture[str]
) -> None:
    own.load()
    for path in own.images.glob("*.jpg"):
        change(path)
    with pytest.raises(InputError, match=r"train2014/.*\.jpg is not the image that was .* prepare the set again"):
        own.load()
    assert own.check() == 1
    assert "changed image" in capsys.readouterr().out


def test_a_change_that_keeps_size_and_time_is_refused(own: OwnSet) -> None:
    own.load()
    for path in own.images.glob("*.jpg"):
        status = path.stat()
        change_a_byte(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputError, match="is not the image that was prepared"):
        own.load()


@pytest.mark.parametrize("place", [0.3, 0.6])
def test_bytes_overwritten_inside_embedded_images_are_refused(
    place: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = OwnSet(tmp_path, embedded=True)
    own.load()
    arrow = own.root / SET / "images.arrow"
    content = bytearray(arrow.read_bytes())
    with Image.open(next(own.images.glob("*.jpg"))) as image:
        assert image.size == (96, 80)
    for start in range(2000, len(content) - 2000, 400):  # each image has several thousand bytes
        content[int(start + 100 * place)] ^= 0xFF
    arrow.write_bytes(content)
    with pytest.raises(InputError, match=r"images\.arrow"):
        own.load()
    assert own.check() in (1, 2)
    captured = capsys.readouterr()
    assert "changed image" in captured.out or "images.arrow" in captured.err
    assert own.prepare().written
    own.load()


@pytest.mark.parametrize("change", ROW_CHANGES.values(), ids=ROW_CHANGES)
def test_changed_rows_are_refused(
    change: Callable[[pa.Table], pa.Table], own: OwnSet, capsys: pytest.CaptureFixture[str]
) -> None:
    change_rows(own.val, change)
    with pytest.raises(InputError, match=r"val\.parquet cannot be read: it was changed after it was prepared"):
        own.load()
    assert own.check() == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert own.prepare().written
    assert own.check() == 0


def test_no_flipped_bit_of_a_split_is_read(own: OwnSet) -> None:
    content = own.val.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
        own.val.write_bytes(damaged)
        with pytest.raises(InputError, match=r"val\.parquet"):
            own.load()


def test_rows_and_digests_changed_together_are_found_by_check(own: OwnSet, capsys: pytest.CaptureFixture[str]) -> None:
    change_rows(own.val, reverse_masks)
    own.change_manifest(lambda values: values["file_digests"].update(val=file_digest(own.val.read_bytes())))
    assert own.check() == 1
    assert "fingerprint: rows and tokenizer make" in capsys.readouterr().out


def other_tokenizer(own: OwnSet) -> None:
    train_tokenizer(["some other words of another set", "and more of them"], own.root / SET / "tokenizer.model", 200)


@pytest.mark.parametrize(
    "change", [other_tokenizer, lambda own: change_a_byte(own.root / SET / "tokenizer.model")], ids=["another", "a bit"]
)
def test_another_tokenizer_is_refused(change: Callable[[OwnSet], None], own: OwnSet) -> None:
    change(own)
    with pytest.raises(InputError, match=r"tokenizer\.model is not the tokenizer that the set was prepared with"):
        own.load()
    assert own.check() == 2
    assert own.prepare().written
    assert own.check() == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda values: values.update(fingerprint="0" * 16), "was changed: its digests make the fingerprint"),
        (lambda values: values.update(family="coco"), "was changed"),
        (lambda values: values["rows_digests"].update(val="ab" * 32), "was changed"),
        (lambda values: values["rows_digests"].update(val="no digits"), "is damaged"),
        (lambda values: values.update(embedded="no"), "is damaged"),
        (lambda values: values["splits"]["val"].update(images=1.5), "is damaged"),
        (lambda values: values["splits"].update({"../val": values["splits"]["val"]}), "'../val' is not a split name"),
        (lambda values: values["splits"]["val"].update(refs=1), "its manifest counts 1"),
        (lambda values: values.update(set="refcoco_unc"), "is the manifest of 'refcoco_unc'"),
        (lambda values: values.update(lower_case=True), "is of a newer version of this project: it has 'lower_case'"),
    ],
)
def test_a_changed_manifest_is_refused(change: Callable[[dict[str, Any]], object], expected: str, own: OwnSet) -> None:
    own.change_manifest(change)
    with pytest.raises(InputError, match=expected):
        own.load()


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_run_is_refused_before_it_starts(
    part: str, own: OwnSet, micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    """Also for a split that is read only after hours, at the end of training."""
    execution = dataclasses.replace(execution, prepared_root=str(own.root))
    resolve_job(micro_run, execution)
    change_rows(own.root / SET / f"{part}.parquet", reverse_masks)
    with pytest.raises(InputError, match=rf"{part}\.parquet"):
        resolve_job(micro_run, execution)


def test_a_set_of_version_0_1_is_read_with_one_warning(own: OwnSet, caplog: pytest.LogCaptureFixture) -> None:
    fingerprint = load_manifest(own.root, SET).fingerprint
    own.make_old()
    with caplog.at_level(logging.WARNING):
        own.load()
        own.load()
    warnings = [record.message for record in caplog.records if "prepare it again" in record.message]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{own.root}/{SET} has no digests of its files (it was prepared by version 0.1)")
    assert own.check() == 0
    assert load_manifest(own.root, SET).fingerprint == fingerprint
    assert own.prepare().written
    assert load_manifest(own.root, SET).has_digests
    assert load_manifest(own.root, SET).fingerprint == fingerprint


@pytest.mark.parametrize("change", ROW_CHANGES.values(), ids=ROW_CHANGES)
def test_a_changed_set_of_version_0_1_is_refused(change: Callable[[pa.Table], pa.Table], own: OwnSet) -> None:
    own.make_old()
    own.load()
    change_rows(own.root / SET / "train.parquet", change)
    with pytest.raises(InputError, match="was changed after it was prepared: its rows and tokenizer make"):
        own.load()


def test_an_image_of_the_same_size_and_time_is_prepared_again(own: OwnSet) -> None:
    before = load_manifest(own.root, SET).fingerprint
    assert not own.prepare().written
    used = {ref.image.file_name for ref in read_refer(own.folder / "refer", SET).refs}
    path = own.images / min(used)
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[15] ^= 1  # the density of its pixels: no decoder refuses any
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    done = own.prepare()
    assert done.written
    assert done.manifest.fingerprint != before


@pytest.mark.parametrize("embedded", [False, True])
def test_a_set_that_is_moved_with_its_images_is_read(embedded: bool, tmp_path: Path) -> None:
    own = OwnSet(tmp_path / "first", embedded=embedded)
    shutil.move(own.folder, tmp_path / "second")
    moved = ReferDataset(tmp_path / "second/prepared", f"{SET}/val", image_size=32, text_tokens=12)
    assert moved[0].image_CSS.float().std() > 5
    assert main(["data", "check", SET, "--prepared", str(tmp_path / "second/prepared")]) == 0


@pytest.mark.parametrize("folder", ["a\0b", "x" * 5000, "../nowhere"])
def test_an_image_folder_that_is_none_is_passed_over(folder: str, own: OwnSet) -> None:
    own.change_manifest(lambda values: values.update(image_folder=folder))
    own.load()


def test_a_set_that_is_moved_alone_reads_the_images_where_they_are(own: OwnSet, tmp_path: Path) -> None:
    shutil.move(own.root, tmp_path / "elsewhere" / "deeper" / "prepared")
    moved = ReferDataset(tmp_path / "elsewhere/deeper/prepared", f"{SET}/val", image_size=32, text_tokens=12)
    assert moved[0].image_CSS.float().std() > 5


def test_each_image_is_compared_once_for_all_processes(own: OwnSet) -> None:
    own.load()
    memory = own.root / ".verified" / SET
    used = set(pq.read_table(own.val)["file_name"].to_pylist())
    assert len(memory.read_bytes().split()) == len(used)
    with patch.object(image_store, "content_digest", side_effect=AssertionError("compared again")):
        own.load()
    memory.write_bytes(memory.read_bytes()[:-9])  # cut by a crash
    own.load()
    assert len(memory.read_bytes().split()) == len(used) + 1
    with patch.object(image_store, "content_digest", side_effect=AssertionError("compared again")):
        own.load()


def test_a_folder_that_cannot_be_written_costs_only_the_memory(own: OwnSet) -> None:
    (own.root / ".verified").write_text("a file in the place of the folder")
    first = own.load()
    with patch.object(image_store, "content_digest", side_effect=AssertionError("compared again")):
        first.images._cache.clear()
        first[0]
    paint_red(own.images / first.info(0).file_name)
    with pytest.raises(InputError, match="is not the image that was prepared"):
        own.load()


@pytest.mark.parametrize("name", ["dataset.json", "val.parquet", "tokenizer.model", "images.arrow"])
def test_a_pipe_or_a_folder_is_not_waited_for(name: str, tmp_path: Path) -> None:
    own = OwnSet(tmp_path, embedded=True)
    path = own.root / SET / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="is not a regular file"):
        own.load()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is not a regular file"):
        own.load()


def test_offsets_that_point_out_of_an_embedded_file_are_refused(tmp_path: Path) -> None:
    """Reading there would end the process."""
    own = OwnSet(tmp_path, embedded=True)
    path = own.root / SET / "images.arrow"
    content = path.read_bytes()
    sizes = {(own.images / name).stat().st_size for name in pq.read_table(own.val)["file_name"].to_pylist()}
    for size in sizes:
        content = content.replace(bytes(4) + size.to_bytes(4, "little"), bytes(4) + (1 << 30).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"images\.arrow cannot be read"):
        own.load()


def test_check_says_what_a_set_without_image_digests_cannot_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "refer", SET, expressions=40, seed=4)
    prepare_source(read_refer(tmp_path / "refer", SET), tmp_path / "prepared", read_images=False)
    main(["data", "check", SET, "--prepared", str(tmp_path / "prepared")])
    assert "prepared with --no-images: a changed image cannot be found" in capsys.readouterr().out
