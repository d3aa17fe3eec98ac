"""A store that fails: told in one line at the start, and at the end the run's record does not depend on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline import run as one_run
from pipeline.cli.main import main
from pipeline.monitoring.mlflow_uri import without_password
from tests.integration import lost_store
from tests.integration.test_resume import train_arguments


@pytest.fixture
def command(toy_root: Path, tmp_path: Path) -> list[str]:
    return [*train_arguments(toy_root, tmp_path / "runs"), "--epochs", "1", "--experiment", "away"]


def test_a_store_that_is_not_there_is_named_before_anything_starts(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "MLflow (http://me:***@127.0.0.1:9) fails: " in line
    assert "MLFLOW_TRACKING_URI" in line
    assert "secret" not in line
    assert not list(tmp_path.rglob("*.pt"))


def test_a_store_that_is_lost_in_the_middle_is_filled_by_the_same_command(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, real = tmp_path / "runs/mlflow.db", one_run.run_in_process

    def lose_the_store(*arguments: Any) -> None:
        lost_store.lose(store)
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(one_run, "run_in_process", lose_the_store)
        assert main(command) == 0
    said = capsys.readouterr().out
    assert "epochs are logged later: MLflow (sqlite:///" in said
    assert "records are not touched by that, and the same command logs what is missing" in said
    (record,) = (tmp_path / "runs/records").glob("*.parquet")

    lost_store.find(store)
    assert main(command) == 0
    assert f"{record.stem} is done already" in capsys.readouterr().out
    client = MlflowClient(f"sqlite:///{store}")
    (run,) = client.search_runs([client.get_experiment_by_name("away").experiment_id])  # type: ignore[union-attr]
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [1]
    assert 0 <= run.data.metrics["toyplus_unc/val/original/miou"] <= 1


def test_a_done_run_is_done_without_a_store(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "the same command logs what is missing" in said
    assert "is done already" in said


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:se:cr/et@host/db", "postgresql://me:***@host/db"),
        ("API request to http://me:se cret@host:5000/api failed", "API request to http://me:***@host:5000/api failed"),
        ("mysql://host/db?user=me&password=secret&ssl=1", "mysql://host/db?user=me&password=***&ssl=1"),
        ("https://host:5000", "https://host:5000"),
        ("https://a-token@host:5000/a", "https://***@host:5000/a"),
        ("https://host:5000/?token=abc&x=1", "https://host:5000/?token=***&x=1"),
        ("s3://bucket/a?AWS_SECRET=1&access_key=abc", "s3://bucket/a?AWS_SECRET=1&access_key=***"),
        (
            "failed for http://a:b@c and http://d@e, mail me@host",
            "failed for http://a:***@c and http://***@e, mail me@host",
        ),
        ("sqlite:////runs/mlflow.db", "sqlite:////runs/mlflow.db"),
    ],
)
def test_a_password_is_not_printed(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_validations_and_splits_of_later_get_names_of_their_own(command: list[str], tmp_path: Path) -> None:
    assert main([*command, "--validate-every-epochs", "1", "--validate-samples", "5"]) == 0
    (record,) = (tmp_path / "runs/records").glob("*.parquet")
    later = ["--runs", str(tmp_path / "runs"), "--experiment", "away", "--device", "cpu"]
    prepared = command[command.index("--prepared") + 1]
    for _ in range(2):
        assert main(["evaluate", record.stem, "toyplus_unc/testA", "--prepared", prepared, *later]) == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs/mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("away").experiment_id])  # type: ignore[union-attr]
    history = client.get_metric_history(run.info.run_id, "validation/toyplus_unc/val/original/oiou")
    assert len(history) == 1
    assert history[0].step > 1, "by optimizer step"
    for split in ("val", "testA"):
        assert len(client.get_metric_history(run.info.run_id, f"toyplus_unc/{split}/original/oiou")) == 1
    assert [each.path for each in client.list_artifacts(run.info.run_id, "samples/toyplus_unc")] == [
        f"samples/toyplus_unc/{split}.parquet" for split in ("testA", "val")
    ]
