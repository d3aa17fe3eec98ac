"""Rows with modules of other papers are runs like any other: two workers, records, an exported model that predicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import resolve_job
from pipeline.recipes import default_run
from pipeline.records import RECORD_SCHEMA, history_path, read_table, record_path
from sharedris.beit3 import load_beit3
from sharedris.build import build_model
from sharedris.errors import InputError
from sharedris.predictor import Predictor
from sweeps.registry import SWEEPS
from sweeps.spec import Row
from tests.integration import workers
from tests.integration.test_resume import PROVENANCE

ROWS: dict[str, Row] = {
    f"{table} {row.label}": row
    for table in ("IV", "V", "VI", "X")
    for row in SWEEPS["all"].tables[table]
    if row.built and row.changes and "No " not in row.label
}
QUICK = ("X ViT-DET",)


def small_run(name: str) -> RunConfig:
    """The row at the tiny scale, over a few samples."""
    config = default_run(scale="tiny")
    for change in ROWS[name].changes:
        config = change.apply(config)
    train = replace(config.train, epochs=2, global_batch_size=8, max_samples_per_epoch=24)
    return replace(config, train=train, optim=replace(config.optim, warmup_steps=0))


def test_ten_rows_are_built() -> None:
    assert len(ROWS) == 10  # nine of other papers, and ours with another encoder


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ROWS]
)
def test_two_workers_train_record_and_export_it(name: str, toy_root: Path, tmp_path: Path) -> None:
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(tmp_path), workers=2)
    job = resolve_job(small_run(name), execution, provenance=PROVENANCE)
    assert workers.finish(workers.start(job, 2)) == [0, 0]
    record = read_table(record_path(tmp_path, job.run_id), RECORD_SCHEMA)
    assert set(record["variant"]) == {job.config.model.variant}
    losses = pd.read_parquet(history_path(tmp_path, job.run_id))["loss"]
    assert len(losses) == 2
    assert losses.iloc[-1] < losses.iloc[0]
    predictor = Predictor.from_run(tmp_path / "models" / job.run_id)
    prediction = predictor.predict(Image.fromarray(np.zeros((50, 70, 3), np.uint8)), "red circle", attention=True)
    assert prediction.mask_HW.shape == (50, 70)


def test_bert_has_fewer_words_than_beit3s_tokenizer_uses(toy_root: Path, tmp_path: Path) -> None:
    config = small_run("VI DMMI (Swin + BERT)")
    bert = replace(config.model.system.bert, vocabulary_size=50)
    config = replace(config, model=replace(config.model, system=replace(config.model.system, bert=bert)))
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(tmp_path))
    with pytest.raises(InputError, match="ids, the model 50"):
        resolve_job(config, execution, provenance=PROVENANCE)


def test_beit3s_weights_are_refused_where_there_is_no_beit3(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="do not fit a model with separate encoders"):
        load_beit3(build_model(small_run("VI CGFormer (Swin + BERT)").model), tmp_path / "weights.pth")
