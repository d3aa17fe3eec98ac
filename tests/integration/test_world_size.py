"""The number of workers changes neither the optimisation nor, by a single bit, the evaluation."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.evaluate import evaluate_split
from pipeline.evaluation.metrics import PRECISION_THRESHOLDS, score
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.job import Job, resolve_job
from pipeline.monitoring.progress import ProgressFile
from pipeline.records import history_path, record_path, samples_path
from pipeline.score_and_record import EvaluationProgress, finish
from pipeline.training.trainer import train
from sharedris.checkpoint import load_model
from tests.conftest import TOY
from tests.integration import workers
from tests.integration.test_resume import PROVENANCE

OF_THE_WORLD = ("world_size", "batch_norm", "hardware_json")


@pytest.fixture(scope="module")
def steady_run(micro_run: RunConfig) -> RunConfig:
    """Without drop path, whose masks are drawn per worker."""
    encoder = replace(micro_run.model.encoder, drop_path=0.0)
    return replace(
        micro_run,
        model=replace(micro_run.model, encoder=encoder),
        data=replace(micro_run.data, evaluate_splits=(f"{TOY}/val", f"{TOY}/testA")),
    )


def job_at(config: RunConfig, toy_root: Path, runs: Path, world_size: int, micro: int | None = None) -> Job:
    execution = ExecutionConfig(
        device="cpu", prepared_root=str(toy_root), runs_root=str(runs), workers=world_size, micro_batch_size=micro
    )
    return resolve_job(config, execution, provenance=PROVENANCE)


@pytest.fixture(scope="module")
def one_worker(steady_run: RunConfig, toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The run of one worker, done."""
    job = job_at(steady_run, toy_root, tmp_path_factory.mktemp("one"), 1)
    assert workers.finish(workers.start(job, 1)) == [0]
    return job


@pytest.mark.parametrize("world_size", [2, 3])
def test_workers_take_the_same_optimisation_steps(
    world_size: int, one_worker: Job, steady_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    job = job_at(steady_run, toy_root, tmp_path, world_size)
    assert job.run_id == one_worker.run_id
    assert workers.finish(workers.start(job, world_size)) == [0] * world_size
    alone, together = (pd.read_parquet(history_path(one.runs_root, one.run_id)) for one in (one_worker, job))
    for name in ("loss", "bce", "dice"):
        assert together[name].tolist() == pytest.approx(alone[name].tolist(), rel=1e-4), name
    assert together["gradient_norm"].tolist() == pytest.approx(alone["gradient_norm"].tolist(), rel=1e-3)
    assert together["world_size"].unique().tolist() == [world_size]
    assert far_apart(one_worker, job) < 0.01
    assert f"over 6 samples of {world_size} workers, synchronised" in read_record(job)["batch_norm"].iloc[0]


@pytest.mark.slow
def test_compiled_workers_take_the_same_steps_too(
    one_worker: Job, steady_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    job = job_at(steady_run, toy_root, tmp_path, 2)
    job = replace(job, execution=replace(job.execution, compile=True))
    assert workers.finish(workers.start(job, 2), 600) == [0, 0]
    alone, together = (pd.read_parquet(history_path(one.runs_root, one.run_id)) for one in (one_worker, job))
    assert together["loss"].tolist() == pytest.approx(alone["loss"].tolist(), rel=1e-3)


def far_apart(one: Job, other: Job) -> float:
    """PerRankBatch of weights that differ by more than a tenth of the way a weight can have gone."""
    first, second = (load_file(job.model_folder / "model.safetensors") for job in (one, other))
    farthest = 8 * one.config.optim.learning_rate
    apart = [(first[name] - second[name]).abs().flatten() > 0.1 * farthest for name in first]
    return float(torch.cat(apart).float().mean())


def read_record(job: Job) -> pd.DataFrame:
    return pd.read_parquet(record_path(job.runs_root, job.run_id))


@pytest.fixture(scope="module")
def trained(steady_run: RunConfig, toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with a trained, not yet evaluated run."""
    job = job_at(steady_run, toy_root, tmp_path_factory.mktemp("trained"), 1)
    job.state_folder.mkdir(parents=True)
    train(job, Worker())
    return job.runs_root


def test_the_record_is_the_same_to_the_bit_with_1_2_and_3_workers(
    trained: Path, steady_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    outcomes = []
    for world_size in (1, 2, 3):
        shutil.copytree(trained, tmp_path / str(world_size))
        job = job_at(steady_run, toy_root, tmp_path / str(world_size), world_size)
        assert workers.finish(workers.start(job, world_size)) == [0] * world_size
        outcome = workers.outcome(job)
        outcome["record"] = [{k: v for k, v in row.items() if k not in OF_THE_WORLD} for row in outcome["record"]]
        outcomes.append(outcome)
        for split in job.config.data.evaluate_splits:
            rows = pd.read_parquet(samples_path(job.runs_root, job.run_id, split))
            assert rows["index"].tolist() == list(range(len(rows)))
    for outcome in outcomes[1:]:
        for part, value in outcome.items():
            assert value == outcomes[0][part], part


def test_the_per_sample_rows_give_the_record_again(one_worker: Job) -> None:
    record = read_record(one_worker)
    assert len(record) == len(one_worker.config.data.evaluate_splits) * len(PROTOCOLS)
    for _, row in record.iterrows():
        rows = pd.read_parquet(samples_path(one_worker.runs_root, one_worker.run_id, row["split"]))
        scores = score(rows, PROTOCOLS[row["protocol"]], input_size=one_worker.config.model.encoder.image_size)
        assert row["samples"] == scores.samples
        # A score that could not be computed is null in the file.
        assert {name: None if pd.isna(row[name]) else row[name] for name in scores.values} == scores.values
        assert len(scores.values) > len(PRECISION_THRESHOLDS)


def open_split(toy_root: Path, split: str) -> ReferDataset:
    return ReferDataset(toy_root, split, image_size=32, text_tokens=20)


@pytest.mark.parametrize("batch_size", [3, 4, 100])
def test_any_batch_size_counts_each_sample_once(one_worker: Job, batch_size: int, toy_root: Path) -> None:
    loaded = load_model(one_worker.model_folder)
    dataset = open_split(toy_root, f"{TOY}/val")
    evaluation = replace(one_worker.config.evaluation, batch_size=batch_size)
    rows = evaluate_split(loaded.model, dataset, evaluation=evaluation, precision="fp32", worker=Worker())
    alone = pd.read_parquet(samples_path(one_worker.runs_root, one_worker.run_id, f"{TOY}/val"))
    assert rows["index"].tolist() == alone["index"].tolist()
    pixels = (rows["intersection_original"] - alone["intersection_original"]).abs().sum()
    assert pixels <= 0.001 * alone["union_original"].sum(), "only a pixel on the threshold may change its side"


def test_fewer_workers_keep_the_global_batch(
    one_worker: Job, steady_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    """What elastic training does: a run of three workers goes on with two, then with one."""
    job = job_at(replace(steady_run, train=replace(steady_run.train, epochs=3)), toy_root, tmp_path, 3)
    assert [job.per_rank_batch(world_size).samples * world_size for world_size in (3, 2, 1)] == [6, 6, 6]
    assert [job.per_rank_batch(world_size).accumulation for world_size in (3, 2, 1)] == [1, 3, 3]
    for world_size, event in ((3, 8), (2, 10), (1, None)):
        processes = workers.start(job, world_size, kill_at_file_event=event)
        processes[0].join()
        workers.kill(processes)
    history = pd.read_parquet(history_path(job.runs_root, job.run_id))
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["world_size"].tolist() == [3, 2, 1]
    assert history["samples"].tolist() == [24, 24, 24]
    assert job.done
    words = read_record(job)["batch_norm"].iloc[0].split("; ")
    assert words == [
        "over 6 samples of 3 workers, synchronised",
        "over 2 samples of 2 workers, synchronised",
        "over 2 samples of 1 worker",
    ]


def finish_with_statistics_of_its_own(worker: Worker, job: Job) -> None:
    """Train and finish; in between the second worker's running means are far off."""
    job.state_folder.mkdir(parents=True, exist_ok=True)
    state = train(job, worker)
    for name, buffer in state.model.named_buffers():
        if "running_mean" in name:
            buffer.sub_(100.0 * worker.rank)
    finish(job, worker, state)


def test_running_statistics_that_differ_are_those_of_the_leader_in_evaluation(
    steady_run: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    apart = replace(steady_run, train=replace(steady_run.train, synchronize_batch_norm=False))
    job = job_at(apart, toy_root, tmp_path / "two", 2)
    workers.call(2, finish_with_statistics_of_its_own, tmp_path, job)
    model = load_model(job.model_folder).model
    for split in apart.data.evaluate_splits:
        dataset = open_split(toy_root, split)
        alone = evaluate_split(model, dataset, evaluation=apart.evaluation, precision="fp32", worker=Worker())
        together = pd.read_parquet(samples_path(job.runs_root, job.run_id, split))
        for name in (*[f"intersection_{name}" for name in PROTOCOLS], "mask_rle"):
            assert alone[name].tolist() == together[name].tolist(), f"{split}: {name}"


def test_progress_counts_the_samples_of_all_splits(one_worker: Job, toy_root: Path) -> None:
    assert len(one_worker.config.data.evaluate_splits) == 2
    sizes = [len(open_split(toy_root, split)) for split in one_worker.config.data.evaluate_splits]
    progress = EvaluationProgress(one_worker, Worker(), sizes)
    shares = []
    with patch.object(ProgressFile, "write", lambda _, reading: shares.append(reading.share)):
        for size in sizes:
            for done in range(1, size + 1):
                progress.update(done, size)
    assert shares == sorted(shares)
    assert shares[sizes[0] - 1] == pytest.approx(0.95 + 0.05 * sizes[0] / sum(sizes))
    assert shares[-1] == 1.0


def late_for_a_collective(worker: Worker, folder: Path) -> list[int]:
    """Gather what workers have that come later than a collective of the run's own group would wait."""
    dist.destroy_process_group()
    meeting, impatient = f"file://{folder / 'impatient'}", timedelta(seconds=1)
    dist.init_process_group("gloo", init_method=meeting, rank=worker.rank, world_size=2, timeout=impatient)
    with worker.patient_group() as group:
        time.sleep(2.5 * worker.rank)
        return worker.gather(worker.rank, group)


def test_workers_wait_for_each_others_rows_longer_than_in_a_step(tmp_path: Path) -> None:
    assert workers.call(2, late_for_a_collective, tmp_path, tmp_path) == [[0, 1]] * 2
