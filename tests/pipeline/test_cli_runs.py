"""`sharedris train`, `evaluate` and `runs` in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.files import write_json
from pipeline.lease import driver_lease
from pipeline.progress import Progress, ProgressFile


@pytest.fixture(scope="module")
def trained(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with one small run that the command trained."""
    runs = tmp_path_factory.mktemp("trained")
    assert main(arguments(toy_root, runs)) == 0
    return runs


def arguments(toy_root: Path, runs: Path) -> list[str]:
    small = ["--set", 'model.fpn={"stages":[1,2]}', "--set", 'model.encoder={"layers":2,"image_size":64}']
    shape = ["--epochs", "2", "--global-batch-size", "8", "--device", "cpu"]
    return ["train", "--prepared", str(toy_root), "--runs", str(runs), *shape, *small]


def test_a_finished_run_is_not_trained_again(trained: Path, toy_root: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(arguments(toy_root, trained)) == 0
    assert "is done already: its record is in" in capsys.readouterr().out


def test_a_held_run_is_refused_with_its_holder(trained: Path, toy_root: Path, capsys: pytest.CaptureFixture) -> None:
    run = next((trained / "models").iterdir()).name
    with driver_lease(trained / "state" / run):
        assert main(arguments(toy_root, trained)) == 2
    assert f"sharedris train: {run} is being run by process" in capsys.readouterr().err


def test_evaluate_scores_the_model_as_the_record_does(
    trained: Path, toy_root: Path, capsys: pytest.CaptureFixture
) -> None:
    import pandas as pd

    record = pd.read_parquet(next((trained / "records").glob("*.parquet")))
    model = str(next((trained / "models").iterdir()))
    assert main(["evaluate", model, "toyplus_unc/val", "--prepared", str(toy_root), "--json", "--device", "cpu"]) == 0
    scores = json.loads(capsys.readouterr().out)
    for _, row in record.iterrows():
        assert scores[row["protocol"]]["oiou"] == row["oiou"]
        assert scores[row["protocol"]]["samples"] == row["samples"]


def test_runs_lists_states_and_scores(trained: Path, capsys: pytest.CaptureFixture) -> None:
    write_json(trained / "state" / "broken" / "failure.json", {"cause": "out of memory with 14 samples"})
    reading = Progress(run_id="going", phase="training", epoch=3, epochs=10, step=25, steps=100)
    ProgressFile(trained / "state" / "going").write(reading)
    assert main(["runs", "--runs", str(trained)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    done = next(line for name, line in lines.items() if name.startswith("tiny-"))
    assert "done" in done
    assert "toyplus_unc/val oIoU" in done
    assert "failed    out of memory with 14 samples" in lines["broken"]
    assert "training, epoch 3/10, 24 %" in lines["going"]
