"""The measured columns of a record by hand: which step counts, which loss, which units."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pipeline import run_record
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.cost.flops import ComponentCost
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.metrics import PRECISION_THRESHOLDS, Scores
from pipeline.job import Job
from pipeline.records import RecordError, RunRecord
from pipeline.run_record import ScoredSplit, build_records, peak_memory_mib

SCORES = Scores(
    samples=4,
    images=3,
    empty_unions=1,
    values={
        "oiou": 0.1,
        "miou": 0.2,
        **{f"precision_at_{round(100 * level)}": level / 2 for level in PRECISION_THRESHOLDS},
        "all_background_oiou": 0.6,
        "all_background_miou": 0.7,
        "all_image_oiou": 0.8,
        "all_image_miou": 0.9,
        **dict.fromkeys(("n_acc", "t_acc", "giou", "ciou", "boundary_iou")),
    },
)
HISTORY = [
    {"loss": 3.0, "world_size": 1, "micro_batch_size": 6},
    {"loss": 2.0, "world_size": 2, "micro_batch_size": 3},
    {"loss": 1.0, "world_size": 2, "micro_batch_size": 3},
]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, micro_run: RunConfig) -> Job:
    costs = [
        ComponentCost(component="encoder", million_params=1.0, gmacs=2.0),
        ComponentCost(component="head", million_params=0.5, gmacs=0.25),
    ]
    monkeypatch.setattr(run_record, "measure_cost", lambda model: costs)
    return Job(
        run_id="run",
        content_hash="c",
        recipe="r",
        data_fingerprint="d",
        config=micro_run,
        execution=ExecutionConfig(device="cpu"),
        provenance={"git_commit": "e", "git_dirty": False, "versions_json": "{}"},
    )


def record_of(job: Job, step_seconds: list[float], **of_split: Any) -> RunRecord:
    state: Any = SimpleNamespace(
        step_seconds=step_seconds, history=HISTORY, step=41, started=86_400.25, left_out={"toyplus_unc": {"refs": 1}}
    )
    scored = {"toyplus_unc/val": ScoredSplit(by_protocol={"input": SCORES}, samples_per_second=5.0, **of_split)}
    records = build_records(job, state, Worker(world_size=2), nn.Linear(30, 10), scored, seconds=9.0)
    assert len(records) == 1
    return records[0]


def test_measured_columns_by_hand(job: Job) -> None:
    record = record_of(job, [1.0, 2.0, 60.0])
    assert record.seconds_per_step == 2.0, "the median: a slow first step does not count"
    assert record.train_samples_per_second == 3.0
    assert record.million_params == 310 / 1e6
    assert record.gmacs == 2.25
    assert json.loads(record.cost_json or "")["head"]["gmacs"] == 0.25
    assert (record.steps, record.final_loss, record.world_size, record.skipped) == (41, 1.0, 2, 0)
    assert (record.seconds, record.evaluate_samples_per_second) == (9.0, 5.0)
    assert record.started == "1970-01-02T00:00:00.250+00:00"
    assert json.loads(record.left_out_json) == {"toyplus_unc": {"refs": 1}}


@pytest.mark.parametrize("skipped", [{}, {"mine": {"empty mask": 2, "missing image": 1}}])
def test_refs_that_were_left_out_are_in_every_record(job: Job, skipped: dict[str, dict[str, int]]) -> None:
    text = record_of(replace(job, skipped_refs=skipped), [1.0]).skipped_refs_json
    assert (text is None) == (not skipped)
    assert json.loads(text or "{}") == skipped


@pytest.mark.parametrize(("cut", "expected"), [(0, None), (3, 3)])
def test_cut_sentences_are_in_the_record_where_there_are_any(job: Job, cut: int, expected: int | None) -> None:
    assert record_of(job, [1.0], cut_sentences=cut).cut_sentences == expected


@pytest.mark.parametrize(
    ("scores", "expected"), [({}, None), ({"dmmi": {"mean IoU": 1.5}}, '{"dmmi": {"mean IoU": 1.5}}')]
)
def test_a_second_score_is_in_the_record_of_another_papers_row(
    job: Job, scores: dict[str, dict[str, float | None]], expected: str | None
) -> None:
    assert record_of(job, [1.0], public_scores=scores).public_scores_json == expected


def test_scores_are_in_the_columns_of_their_names(job: Job) -> None:
    record = record_of(job, [1.0])
    assert (record.split, record.protocol, record.protocol_version) == ("toyplus_unc/val", "input", 1)
    assert (record.samples, record.images, record.empty_unions) == (4, 3, 1)
    assert (record.oiou, record.miou, record.precision_at_50, record.precision_at_90) == (0.1, 0.2, 0.25, 0.45)
    assert (record.all_background_oiou, record.all_background_miou) == (0.6, 0.7)
    assert (record.all_image_oiou, record.all_image_miou) == (0.8, 0.9)


def test_batch_norm_names_every_number_of_workers_once_the_largest_first(job: Job) -> None:
    words = record_of(job, [1.0]).batch_norm
    assert words.startswith("over 6 samples of 2 workers")
    assert words.endswith("; over 6 samples of 1 worker")


def test_a_session_without_a_step_has_no_rate(job: Job) -> None:
    record = record_of(job, [])
    assert (record.seconds_per_step, record.train_samples_per_second) == (None, None)


def test_peak_memory_of_a_gpu_is_in_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20)
    assert peak_memory_mib(torch.device("cuda")) == 3.0


@pytest.mark.parametrize("field", ["oiou", "precision_at_90", "seconds", "gmacs"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_makes_no_record(field: str, value: float, job: Job) -> None:
    record = record_of(job, [0.5])
    with pytest.raises(RecordError, match=f"run: {field} of .* is {value}"):
        replace(record, **{field: value})
    assert replace(record, gmacs=None, final_loss=None).gmacs is None
