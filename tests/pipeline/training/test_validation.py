"""Validation leaves no trace in what is trained, and its curve survives a stop without doubles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.run import run_in_process
from pipeline.training import trainer
from pipeline.validation_rows import validation_path
from tests.integration import workers

TOY = "toyplus_unc"
PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
OFTEN = {"validate_every_epochs": 1, "validate_every_steps": 3, "validate_samples": 5, "validate_split": f"{TOY}/testA"}


@pytest.fixture(scope="module")
def config(micro_run: RunConfig) -> RunConfig:
    """Two epochs of four steps with drop path, so that generators matter."""
    encoder = replace(micro_run.model.encoder, drop_path=0.2)
    return replace(micro_run, model=replace(micro_run.model, encoder=encoder))


def job_of(config: RunConfig, toy_root: Path, runs: Path, **options: Any) -> Job:
    execution = ExecutionConfig(
        device="cpu", prepared_root=str(toy_root), runs_root=str(runs), checkpoint_every_steps=2, **options
    )
    return resolve_job(config, execution, provenance=PROVENANCE)


@pytest.fixture(scope="module")
def plain(config: RunConfig, toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run without validation leaves."""
    job = job_of(config, toy_root, tmp_path_factory.mktemp("plain"))
    run_in_process(job)
    assert not validation_path(job.runs_root, job.run_id).exists()
    return workers.outcome(job)


def stop_at(monkeypatch: pytest.MonkeyPatch, job: Job, step: int) -> None:
    """Run until a step begins: a stop in the middle of an epoch, some steps after its checkpoint."""
    taken = trainer.train_step

    def stopping(*args: Any, **options: Any) -> Any:
        if options["step"] == step:
            raise KeyboardInterrupt
        return taken(*args, **options)

    with monkeypatch.context() as stopped:
        stopped.setattr(trainer, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_in_process(job)


@pytest.mark.parametrize("stops", [(), (3, 7)], ids=["at once", "stopped twice"])
def test_weights_and_history_are_those_of_a_run_without_validation(
    stops: tuple[int, ...],
    config: RunConfig,
    plain: dict[str, Any],
    toy_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_of(config, toy_root, tmp_path, **OFTEN)
    for step in stops:
        stop_at(monkeypatch, job, step)
    run_in_process(job)
    got = workers.outcome(job)
    for part in ("weights", "history", "samples", "record"):
        assert got[part] == plain[part], part
    rows = pd.read_parquet(validation_path(job.runs_root, job.run_id))
    original = rows[rows["protocol"] == "original"]
    assert original["step"].tolist() == [3, 4, 6, 8]
    assert original["epoch"].tolist() == [0, 1, 1, 2]
    assert set(rows["samples"]) == {5}
    assert set(rows["split"]) == {f"{TOY}/testA"}


def test_a_whole_split_is_scored_as_at_the_end_and_the_list_shows_it(
    config: RunConfig, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = replace(config, train=replace(config.train, epochs=1))
    job = job_of(short, toy_root, tmp_path, validate_every_epochs=1)
    run_in_process(job)
    row = pd.read_parquet(validation_path(job.runs_root, job.run_id)).iloc[-1]
    record = pd.read_parquet(tmp_path / "records" / f"{job.run_id}.parquet").iloc[-1]
    assert (row["protocol"], row["oiou"], row["miou"]) == (record["protocol"], record["oiou"], record["miou"])
    (tmp_path / "records" / f"{job.run_id}.parquet").unlink()
    assert main(["runs", "--runs", str(tmp_path)]) == 0
    assert f"validated at step 4: {TOY}/val oIoU" in capsys.readouterr().out


def test_an_unknown_split_is_refused_before_anything_is_written(
    toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", TOY, "--prepared", str(toy_root), "--runs", str(tmp_path / "runs"), "--device", "cpu"]
    assert main(["train", *words, "--validate-every-epochs", "1", "--validate-split", f"{TOY}/testX"]) == 2
    assert "toyplus_unc has no split 'testX'" in capsys.readouterr().err
    assert main(["train", *words, "--validate-samples", "4"]) == 2
    assert "validate_samples" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
