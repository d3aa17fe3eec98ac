"""The scored samples of a run open in pycocotools, whose evaluation gives our P@X."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.cli.main import main
from pipeline.config import EvaluationConfig
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.evaluate import evaluate_split
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.evaluation.split_samples import split_of_model
from pipeline.records import samples_path, write_table
from sharedris.checkpoint import SavedModel
from tests.conftest import TOY
from tests.pipeline.model_export.conftest import RECORDED


def test_coco_evaluates_the_samples_to_our_precision(
    saved: SavedModel, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split, runs, out = f"{TOY}/val", tmp_path / "runs", tmp_path / "coco"
    dataset = split_of_model(str(toy_root), split, saved)
    words = ["export", str(saved.tokenizer_path.parent), "--format", "coco", "--out", str(out), "--runs", str(runs)]
    words += ["--prepared", str(toy_root), "--split", split]
    assert main(words) == 2
    assert "has no samples of toyplus_unc/val" in capsys.readouterr().err
    rows = evaluate_split(
        saved.model, dataset, evaluation=EvaluationConfig(threshold=0.5), precision="fp32", worker=Worker()
    )
    for place in range(0, len(rows), 2):  # half of the predictions are right
        rows.at[place, "mask_rle"] = dataset.info(place).mask_rle
    write_table(samples_path(runs, RECORDED, split), rows, sample_schema())
    assert main(words) == 0
    truth = COCO(str(out / "ground_truth.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(out / "predictions.json")), "segm")
    evaluation.params.maxDets = [1]
    evaluation.evaluate()
    evaluation.accumulate()
    recall = float(evaluation.eval["recall"][-1, 0, 0, 0])  # at IoU 0.95, objects of any size
    assert recall == pytest.approx(len(rows[::2]) / len(rows))
    entry = json.loads((out / "ground_truth.json").read_text())["images"][0]
    assert (entry["expression"], entry["sent_id"]) == (rows["expression"][0], rows["sent_id"][0])
    assert np.isfinite(recall)
