"""Samples without a target from annotation files to training samples: an empty mask, in the sets that may have one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.prepared.manifest import REF_SCHEMA, load_manifest
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.data.validation import datasheet
from pipeline.data.validation.checks import check_source
from pipeline.data.validation.inputs import source_of_prepared
from sharedris.errors import InputError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("none")
    write_synthetic(root / "refer", "toyg_none", expressions=40, seed=2)
    result = prepare_source(read_refer(root / "refer", "toyg_none"), root / "prepared")
    assert (dict(result.manifest.skipped), dict(result.manifest.warnings)) == ({}, {})
    return root / "prepared"


def test_prepared_rows_have_empty_masks_and_the_same_columns(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load_manifest(prepared, "toyg_none")
    assert pq.read_schema(manifest.split_place("train").path).names == REF_SCHEMA.names
    source = source_of_prepared(manifest)
    assert 5 < sum(ref.objects == 0 for ref in source.refs) < len(source.refs) - 5
    result = check_source(source, origin="here", image_problems=(), tokenizer=None, text_tokens=20)
    assert result.ok
    assert [finding.kind for finding in result.findings] == ["no target", "length"]
    assert "this set has sentences that name no object" in result.findings[0].message
    monkeypatch.setattr(datasheet, "draw_histograms", lambda refs: {})
    assert datasheet.write_datasheet(source, result, None).count(".jpg, no target</span>") >= 3


def test_a_sample_without_a_target_has_an_empty_mask(prepared: Path) -> None:
    dataset = ReferDataset(prepared, "toyg_none/val", image_size=32, text_tokens=20)
    areas = np.array([dataset[index].mask_SS.sum() for index in range(len(dataset))])
    ratios = np.array([dataset.info(index).area_ratio for index in range(len(dataset))])
    assert np.array_equal(areas == 0, ratios == 0)
    assert 0 < (areas == 0).sum() < len(areas)


@pytest.mark.parametrize("on_bad_ref", ["error", "skip"])
def test_another_set_must_have_targets(on_bad_ref: str, prepared: Path, tmp_path: Path) -> None:
    source = replace(read_refer(prepared.parent / "refer", "toyg_none"), set_name="mine")
    without = sum(not ref.objects for ref in source.refs)
    if on_bad_ref == "error":
        with pytest.raises(
            InputError, match=f"mine cannot be prepared .{without} x no target.: ref .* names no object"
        ):
            prepare_source(source, tmp_path)
        assert list(tmp_path.iterdir()) == []
        return
    manifest = prepare_source(source, tmp_path, on_bad_ref="skip").manifest
    assert manifest.skipped == {"no target": without}
    assert all(ref.objects for ref in source_of_prepared(manifest).refs)
