"""A training on a set with empty masks, with and without the no-target head, to its record."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import DataConfig, ExecutionConfig, RunConfig
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.job import resolve_job
from pipeline.records import history_path, record_path, samples_path
from pipeline.run import run_in_process
from sharedris.config import NoTargetConfig

SET, SPLIT = "toyg_none", "toyg_none/val"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("none")
    write_synthetic(root / "refer", SET, expressions=40, seed=0)
    prepare_source(read_refer(root / "refer", SET), root / "prepared")
    return root / "prepared"


@pytest.mark.parametrize("kind", ["none", "head"])
def test_empty_masks_are_trained_on_and_scored(kind: str, prepared: Path, micro_run: RunConfig, tmp_path: Path) -> None:
    model = replace(micro_run.model, no_target=NoTargetConfig(kind=kind))
    data = DataConfig(train_sets=(SET,), evaluate_splits=(SPLIT,))
    config = replace(micro_run, model=model, data=data, train=replace(micro_run.train, epochs=1))
    execution = ExecutionConfig(device="cpu", prepared_root=str(prepared), runs_root=str(tmp_path))
    provenance = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
    job = resolve_job(config, execution, provenance=provenance)
    run_in_process(job)
    record = pd.read_parquet(record_path(tmp_path, job.run_id))
    assert record[["n_acc", "t_acc", "giou", "ciou"]].notna().all(axis=None)
    assert all(map(math.isfinite, pd.read_parquet(history_path(tmp_path, job.run_id))["loss"]))
    samples = pd.read_parquet(samples_path(tmp_path, job.run_id, SPLIT))
    without = samples["target_area_original"] == 0
    (original,) = record[record["protocol"] == "original"].to_dict("records")
    assert 0 < without.sum() < len(samples)
    assert original["n_acc"] == (samples["union_original"][without] == 0).mean()
    assert original["variant"].endswith("no_target=head") == (kind == "head")
