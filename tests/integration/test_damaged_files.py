"""One damaged file stops no command over the other files: each kind of file, each kind of damage, each command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.monitoring.mlflow_uri import tracking_uri
from pipeline.records import COST_SCHEMA, RECORD_SCHEMA, cost_path, history_path, list_runs, read_table, record_path
from pipeline.run import run_in_process
from pipeline.run_marks import Marks, marks_path, write_marks
from pipeline.training import state as train_state
from reports.__main__ import main as reports_main
from sharedris.baselines.config import ComparedModelConfig
from sweeps import costs
from sweeps.run import run_sweep
from tests.damage import DAMAGES
from tests.integration.micro_sweep import SWEEP, plan_of
from tests.integration.test_resume import PROVENANCE, train_arguments
from tests.reports import synthetic_runs

Damage = Callable[[bytes], bytes]
each_damage = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
# Each of these trains twice; the other damages of a table are read in tests of a second.
garbage_first = pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, id=name, marks=[] if name == "garbage" else pytest.mark.slow)
        for name, damage in DAMAGES.items()
    ],
)


def spoil(path: Path, damage: Damage) -> None:
    path.write_bytes(damage(path.read_bytes()))


@garbage_first
def test_train_replaces_a_damaged_record_and_says_so_in_one_line(
    damage: Damage, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*train_arguments(toy_root, tmp_path), "--epochs", "1"]
    assert main(command) == 0
    (run_id,) = list_runs(tmp_path)
    before = read_table(record_path(tmp_path, run_id), RECORD_SCHEMA)
    spoil(record_path(tmp_path, run_id), damage)
    capsys.readouterr()
    assert main([*command, "--plan", "--gflops", "1"]) == 0
    assert f"{run_id} (not done)" in capsys.readouterr().out
    record_path(tmp_path, run_id).touch()  # another time: the line is printed once for each state of a file
    assert main(command) == 0
    printed = capsys.readouterr()
    (line,) = [line for line in (printed.out + printed.err).splitlines() if "counts as missing" in line]
    assert str(record_path(tmp_path, run_id)) in line
    after = read_table(record_path(tmp_path, run_id), RECORD_SCHEMA)
    scores = ["split", "protocol", "oiou", "miou", "final_loss"]
    pd.testing.assert_frame_equal(before[scores], after[scores])
    assert main(command) == 0
    assert "is done already" in capsys.readouterr().out


@pytest.fixture
def interrupted(micro_run: RunConfig, execution: ExecutionConfig) -> Job:
    """A run that ended after its first of two epochs, with every file that it can leave."""
    job = resolve_job(micro_run, execution, provenance=PROVENANCE)
    real = train_state.checkpoints.save

    def save_once(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise KeyboardInterrupt

    with patch.object(train_state.checkpoints, "save", save_once), pytest.raises(KeyboardInterrupt):
        run_in_process(job)
    train_state.write_history(job, train_state_of(job))
    write_marks(job.runs_root, job.run_id, Marks(tags=("x",)))
    for name in ("driver.json", "driver.lock", "failure.json", "damaged.jsonl", "run.log", "placement_group.json"):
        (job.state_folder / name).write_text('{"index": 0, "message": "x", "cause": "x"}\n')
    return job


def train_state_of(job: Job) -> Any:
    """What `write_history` needs of a train state."""
    saved = train_state.checkpoints.load_newest(job.state_folder, content_hash=job.content_hash)
    assert saved is not None
    return type("State", (), {"history": saved["history"]})()


@each_damage
def test_a_run_resumes_whatever_its_small_files_hold(
    damage: Damage, interrupted: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = interrupted
    small = [path for path in job.state_folder.iterdir() if path.is_file() and not path.name.startswith("checkpoint-")]
    assert {"progress.json", "driver.json", "driver.lock", "leader.lock", "run.log"} <= {path.name for path in small}
    for path in (*small, history_path(job.runs_root, job.run_id), marks_path(job.runs_root, job.run_id)):
        spoil(path, damage)
    (job.state_folder / "failure.json").unlink()  # as each command does before it runs a job
    run_in_process(job)
    assert job.done
    history = pd.read_parquet(history_path(job.runs_root, job.run_id))
    assert history["epoch"].tolist() == [1, 2]
    assert "resumed after epoch 1" in (job.state_folder / "run.log").read_text(errors="replace")


def test_a_damaged_file_keeps_no_other_cell_out_of_mlflow(
    micro_run: RunConfig, toy_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Three cells are done, and the histories of two are damaged: all are closed."""
    plan = plan_of(micro_run, str(toy_root), str(tmp_path / "runs"))
    plan = replace(plan, cells=plan.cells[:3])
    jobs = [planned.job for planned in plan.cells if planned.job is not None]
    for job in jobs:
        run_in_process(job)
    spoil(history_path(plan.runs_root, jobs[0].run_id), DAMAGES["empty"])
    spoil(history_path(plan.runs_root, jobs[1].run_id), DAMAGES["cut in half"])
    assert run_sweep(plan, experiment="e") == 0
    assert len([line for line in caplog.messages if "its epochs are not logged" in line]) == 2
    client = MlflowClient(tracking_uri(plan.runs_root))
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 4  # the sweep and its cells


@each_damage
def test_a_damaged_cost_file_is_measured_again(
    damage: Damage, micro_model: ComparedModelConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = costs.cost_of(micro_model, tmp_path)
    path = cost_path(tmp_path, micro_model.scale, micro_model.variant)
    spoil(path, damage)
    assert costs.cost_of(micro_model, tmp_path) == expected
    spoil(path, damage)
    with patch.object(costs, "paper_models", return_value=[micro_model]):
        assert costs.write_paper_costs(SWEEP, tmp_path) == 1
    assert len(read_table(path, COST_SCHEMA)) > 1
    assert len([line for line in caplog.messages if "counts as missing" in line]) == 1


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up runs of table VII(a); nobody writes into it."""
    root = tmp_path_factory.mktemp("reported")
    synthetic_runs.write_runs(root)
    synthetic_runs.write_costs(root)
    return root


@each_damage
@pytest.mark.parametrize("kind", ["records/*", "samples/*/toyplus_unc/*", "costs/base/*", "history/*"])
def test_a_table_is_made_without_the_damaged_file(
    kind: str, damage: Damage, reported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(reported, tmp_path / "runs"))
    spoil(sorted(root.glob(kind))[0], damage)
    is_read = kind.startswith(("records", "costs"))
    assert reports_main(["VII-a", "--runs", str(root)]) == (1 if is_read else 0)
    printed = capsys.readouterr()
    assert len([line for line in printed.err.splitlines() if line.startswith("problem: ")]) == is_read
    assert printed.out.count("§") == 0
    assert "59." in printed.out or "58." in printed.out or "57." in printed.out
    (shown,) = root.glob("report/tables/VII-a.md")
    assert shown.stat().st_size


@pytest.mark.slow
def test_the_page_is_made_without_the_damaged_files(
    reported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every kind of file that the page reads is damaged at once, each in another way."""
    root = Path(shutil.copytree(reported, tmp_path / "runs"))
    runs = list_runs(root)
    damages = list(DAMAGES.values())
    spoil(root / "records" / f"{runs[0]}.parquet", damages[0])
    spoil(root / "samples" / runs[1] / "toyplus_unc" / "val.parquet", damages[1])
    spoil(root / "history" / f"{runs[2]}.parquet", damages[2])
    spoil(sorted(root.glob("costs/base/*"))[0], damages[1])
    for number, damage in enumerate(damages):
        stored = root / "attention" / runs[3] / f"{number}.npz"
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(damage(b"PK\3\4" + bytes(500)))
    assert reports_main(["all", "--runs", str(root), "--prepared", str(tmp_path)]) == 1
    problems = [line for line in capsys.readouterr().err.splitlines() if line.startswith("problem: ")]
    for part in (f"{runs[0]}.parquet", f"{runs[1]}/toyplus_unc/val", f"history/{runs[2]}", "costs/base", "0.npz"):
        assert [line for line in problems if part in line], (part, problems)
    assert (root / "report" / "index.html").stat().st_size > 10_000
