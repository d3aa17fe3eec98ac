"""Real photographs: the model fits the sentences and masks of the 17 real training refs (a proof, not a score)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import DataConfig, ExecutionConfig, OptimConfig, TrainConfig
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.job import resolve_job
from pipeline.recipes import default_run
from pipeline.records import record_path
from pipeline.run import run_in_process

SET = "refcocog_umd"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_default_cell_fits_the_17_real_training_refs(shared_data: Path, tmp_path: Path) -> None:
    prepare_source(read_refer(shared_data / "mini-refcoco", SET), str(tmp_path / "prepared"))
    default = default_run(train_sets=(SET,))
    encoder = replace(default.model.encoder, image_size=160, drop_path=0.0)
    config = replace(
        default,
        model=replace(default.model, encoder=encoder),
        data=DataConfig(train_sets=(SET,), evaluate_splits=(f"{SET}/train",)),
        optim=OptimConfig(learning_rate=1e-3, warmup_steps=20),
        train=TrainConfig(epochs=300, global_batch_size=17, precision="fp32"),
    )
    execution = ExecutionConfig(
        device="cpu",
        prepared_root=str(tmp_path / "prepared"),
        runs_root=str(tmp_path / "runs"),
        checkpoint_every_epochs=50,
    )
    job = resolve_job(config, execution, provenance={"git_commit": "test", "git_dirty": False, "versions_json": "{}"})
    run_in_process(job)
    record = pd.read_parquet(record_path(job.runs_root, job.run_id)).set_index("protocol")
    print(record[["samples", "oiou", "miou", "all_image_miou"]])
    assert record.loc["original", "samples"] == 17
    assert record.loc["original", "miou"] >= 0.85
