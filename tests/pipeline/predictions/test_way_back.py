"""The masks of our models, scored as anybody's, give our own scores to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.cli.main import main
from pipeline.data.prepared.manifest import load_manifest
from pipeline.evaluation.metrics import METRICS, record_schema
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.records import list_runs, read_table, record_path, samples_path
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import save_model
from tests.pipeline.predictions.forms import PART, SET


def test_our_masks_give_our_scores(
    micro_model: ComparedModelConfig, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, masks, rows = tmp_path / "model", tmp_path / "masks.jsonl", tmp_path / "rows.parquet"
    torch.manual_seed(0)
    save_model(model, build_model(micro_model), micro_model, load_manifest(toy_root, SET).tokenizer_path, 0.5, "run")
    split, prepared = f"{SET}/{PART}", ["--prepared", str(toy_root)]
    places = ["--save-masks", str(masks), "--out", str(rows)]
    assert main(["evaluate", str(model), split, *prepared, "--device", "cpu", "--json", *places]) == 0
    ours = json.loads(capsys.readouterr().out)["original"]
    of_ours = read_table(rows, sample_schema())
    for path in (masks, rows):
        runs = tmp_path / f"runs{path.suffix}"
        command = ["score", str(path), "--data", SET, "--split", PART, "--name", "Shared-RIS", "--runs", str(runs)]
        assert main([*command, *prepared]) == 0
        (run_id,) = list_runs(runs)
        record = read_table(record_path(runs, run_id), record_schema()).iloc[0]
        # Masks of others are compared as run lengths: what is measured on pixels stays empty for them.
        both = [name for name, each in METRICS.items() if ours[name] is not None and each.per_mask is None]
        assert {name: record[name] for name in both} == {name: ours[name] for name in both}
        samples = read_table(samples_path(runs, run_id, split), sample_schema())
        on_pixels = tuple(name for name, each in METRICS.items() if each.per_mask is not None)
        same = [name for name in samples if not name.endswith(("_paper", "_input")) and not name.startswith(on_pixels)]
        pd.testing.assert_frame_equal(samples[same], of_ours[same], check_exact=True)
