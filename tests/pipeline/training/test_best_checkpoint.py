"""The best epoch's weights are exported and scored, also after stops; bad choices are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import load_file

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig, TrainConfig
from pipeline.job import Job, resolve_job
from pipeline.records import record_path
from pipeline.run import run_in_process
from pipeline.training import best_checkpoint, trainer
from pipeline.training.model_with_loss import unwrap
from pipeline.validation_rows import validation_path
from tests.integration import workers

TOY = "toyplus_unc"
SELECTION = f"best:{TOY}/val/miou"
PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}


@pytest.fixture(scope="module")
def config(micro_run: RunConfig) -> RunConfig:
    return replace(micro_run, train=replace(micro_run.train, epochs=3, checkpoint_selection=SELECTION))


def job_of(config: RunConfig, toy_root: Path, runs: Path) -> Job:
    execution = ExecutionConfig(
        device="cpu", prepared_root=str(toy_root), runs_root=str(runs), checkpoint_every_steps=2
    )
    return resolve_job(config, execution, provenance=PROVENANCE)


def with_made_up_scores(monkeypatch: pytest.MonkeyPatch, weights: dict[int, Any]) -> None:
    """Let the second of three epochs score best, and remember the weights of every epoch."""
    scores = {1: 0.2, 2: 0.5, 3: 0.5}

    def values(metrics: Any, *rest: Any) -> dict[str, float]:
        return {metric.name: scores[max(weights)] for metric in metrics}

    finish_epoch = trainer._finish_epoch

    def finishing(job: Job, worker: Any, state: Any, plan: Any) -> None:
        finish_epoch(job, worker, state, plan)
        weights[state.epoch] = {name: each.clone() for name, each in unwrap(state.model).state_dict().items()}

    monkeypatch.setattr(best_checkpoint, "values_of", values)
    monkeypatch.setattr(trainer, "_finish_epoch", finishing)


@pytest.mark.parametrize("stop", [None, 10], ids=["at once", "stopped after the best epoch"])
def test_the_first_of_the_best_epochs_is_exported_and_recorded(
    stop: int | None, config: RunConfig, toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, weights = job_of(config, toy_root, tmp_path), dict[int, Any]()
    with_made_up_scores(monkeypatch, weights)
    taken = trainer.train_step

    def stopping(*args: Any, **options: Any) -> Any:
        if options["step"] == stop:
            raise KeyboardInterrupt
        return taken(*args, **options)

    if stop is not None:
        with monkeypatch.context() as stopped:
            stopped.setattr(trainer, "train_step", stopping)
            with pytest.raises(KeyboardInterrupt):
                run_in_process(job)
    run_in_process(job)
    exported = load_file(job.model_folder / "model.safetensors")
    assert all(exported[name].equal(weights[2][name]) for name in exported)
    assert not all(exported[name].equal(weights[3][name]) for name in exported)
    record = pd.read_parquet(record_path(job.runs_root, job.run_id))
    assert set(record["checkpoint_selection"]) == {f"{SELECTION}, epoch 2"}
    validated = pd.read_parquet(validation_path(job.runs_root, job.run_id))
    of_best = validated[(validated["epoch"] == 2) & (validated["protocol"] == "original")]
    assert of_best["miou"].tolist() == record.loc[record["protocol"] == "original", "miou"].tolist()
    assert len(validated) == 3 * 3


def test_selection_changes_neither_history_nor_the_ids_of_other_runs(
    config: RunConfig, toy_root: Path, tmp_path: Path
) -> None:
    last = replace(config, train=replace(config.train, checkpoint_selection="last", epochs=1))
    best = replace(config, train=replace(config.train, epochs=1))
    jobs = [job_of(each, toy_root, tmp_path / str(number)) for number, each in enumerate((last, best))]
    for job in jobs:
        run_in_process(job)
    of_last, of_best = map(workers.outcome, jobs)
    assert of_last["history"] == of_best["history"]
    assert of_last["weights"] == of_best["weights"], "of one epoch, the last is the best"
    assert jobs[0].run_id != jobs[1].run_id
    assert pd.read_parquet(record_path(jobs[0].runs_root, jobs[0].run_id))["checkpoint_selection"].isna().all()


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("newest", "neither 'last' nor 'best:SET/SPLIT/METRIC'"),
        (f"best:{TOY}/val", "neither 'last' nor"),
        (f"best:{TOY}/val/beauty", "no metric 'beauty'"),
        (f"best:{TOY}/testX/oiou", "has no split 'testX'"),
        ("best:toy_unc/val/oiou", "toy_unc is not prepared"),
    ],
)
def test_a_bad_selection_is_refused(
    selection: str, words: str, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", TOY, "--prepared", str(toy_root), "--runs", str(tmp_path / "runs"), "--device", "cpu"]
    assert main(["train", *arguments, f"--train.checkpoint-selection={selection}"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_default_is_the_last_checkpoint() -> None:
    assert TrainConfig().selected_by is None
    assert TrainConfig(checkpoint_selection="best:refcoco+_unc/val/oiou").selected_by == ("refcoco+_unc/val", "oiou")
