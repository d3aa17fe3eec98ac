"""A sweep over real Ray processes: its driver killed, continued, one cell that cannot be trained, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline.config import RunConfig
from pipeline.records import HISTORY_SCHEMA, RECORD_SCHEMA, history_path, list_runs, read_table, record_path
from pipeline.run import run_in_process
from sharedris.config import to_dict
from sweeps.plan import SweepPlan
from tests.integration.micro_sweep import plan_of

# Two minutes of real processes, most of them waiting for Ray: `make test` has those of one run (test_ray.py).
pytestmark = pytest.mark.slow

TIMES = ["seconds", "seconds_per_step", "train_samples_per_second", "evaluate_samples_per_second", "started"]
TIMES += ["mfu", "worker_hours"]
PLACES = ["peak_memory_mib", "hardware_json"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    plan: SweepPlan
    runs: Path
    prepared: str
    records_when_killed: dict[str, bytes]
    second: subprocess.CompletedProcess[str]
    command: list[str]


def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    return clean | {"PYTHONWARNINGS": "default"}


@pytest.fixture(scope="module")
def outcome(toy_root: Path, micro_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Start the sweep, kill its driver once a record is there, start it again to its end."""
    root = tmp_path_factory.mktemp("sweep")
    config, runs = root / "config.json", root / "runs"
    config.write_text(json.dumps(to_dict(micro_run)))
    command = [sys.executable, "-m", "tests.integration.micro_sweep", str(toy_root), str(runs), str(config)]
    deadline = time.time() + 150
    with (root / "first.log").open("w") as log:
        first = subprocess.Popen(command, env=environment(), stdout=log, stderr=subprocess.STDOUT)
        while not list_runs(runs) and time.time() < deadline:
            assert first.poll() is None, (root / "first.log").read_text()
            time.sleep(0.2)
        first.send_signal(signal.SIGKILL)
        first.wait()
    killed_with = {run_id: record_path(runs, run_id).read_bytes() for run_id in list_runs(runs)}
    second = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    return Outcome(
        plan=plan_of(micro_run, str(toy_root), str(runs)),
        runs=runs,
        prepared=str(toy_root),
        records_when_killed=killed_with,
        second=second,
        command=command,
    )


def test_the_killed_sweep_is_finished_by_the_same_command(outcome: Outcome) -> None:
    assert 1 <= len(outcome.records_when_killed) < 3, outcome.records_when_killed
    assert outcome.second.returncode == 3, outcome.second.stdout + outcome.second.stderr
    assert len(list_runs(outcome.runs)) == 3
    assert [planned.cell.names[0] for planned in outcome.plan.in_state("missing")] == ["T/explodes"]


def test_what_was_recorded_is_not_run_again(outcome: Outcome) -> None:
    for run_id, content in outcome.records_when_killed.items():
        assert record_path(outcome.runs, run_id).read_bytes() == content


def test_a_finished_sweep_starts_neither_ray_nor_torch(outcome: Outcome, micro_run: RunConfig, tmp_path: Path) -> None:
    # The same records without the cell that fails, asked for by the same program.
    program = (
        "import json, sys; from pathlib import Path; from dataclasses import replace\n"
        "from tests.integration import micro_sweep as m\n"
        "m.SWEEP = replace(m.SWEEP, tables={'T': m.SWEEP.tables['T'][:3]})\n"
        "sys.exit(m.main())"
    )
    again = subprocess.run(
        [sys.executable, "-c", program, *outcome.command[3:]],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == "nothing to run; ray imported: False torch imported: False"


def test_the_cell_that_cannot_be_trained_is_named_with_its_cause_in_one_line(outcome: Outcome) -> None:
    lines = [line for line in outcome.second.stdout.splitlines() if line.startswith("T/explodes")]
    assert any("not finite at step" in line for line in lines), outcome.second.stdout
    assert "Traceback" not in outcome.second.stdout


def test_every_epoch_stands_once_in_the_history(outcome: Outcome, micro_run: RunConfig) -> None:
    for run_id in list_runs(outcome.runs):
        history = read_table(history_path(outcome.runs, run_id), HISTORY_SCHEMA)
        assert history["epoch"].tolist() == list(range(1, micro_run.train.epochs + 1))


def test_records_equal_those_of_runs_that_were_never_disturbed(
    outcome: Outcome, micro_run: RunConfig, tmp_path: Path
) -> None:
    undisturbed = plan_of(micro_run, outcome.prepared, str(tmp_path / "runs"))
    for planned in undisturbed.cells[:3]:
        assert planned.job is not None
        run_in_process(planned.job)
        here, there = (
            read_table(record_path(root, planned.job.run_id), RECORD_SCHEMA).drop(columns=TIMES + PLACES)
            for root in (tmp_path / "runs", outcome.runs)
        )
        pd.testing.assert_frame_equal(here, there)


def test_mlflow_has_each_run_once_and_none_that_runs_for_ever(outcome: Outcome) -> None:
    client = MlflowClient(f"sqlite:///{outcome.runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("micro")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert [run.info.status for run in parents] == ["FAILED"]
    assert sorted(run.info.status for run in children) == ["FAILED", "FINISHED", "FINISHED", "FINISHED"]
    assert len({run.data.tags["sharedris.content_hash"] for run in children}) == 4
    done = next(run for run in children if run.info.status == "FINISHED")
    steps = [metric.step for metric in client.get_metric_history(done.info.run_id, "train/loss")]
    assert steps == [1, 2]
    assert "toyplus_unc/val/original/miou" in done.data.metrics


def test_a_cell_in_two_tables_is_one_run(outcome: Outcome) -> None:
    record = next(p for p in outcome.plan.cells if p.cell.names == ("T/{1, 2}", "U/ours"))
    assert record.job is not None
    rows = read_table(record_path(outcome.runs, record.job.run_id), RECORD_SCHEMA)
    assert rows.iloc[0]["cells"].tolist() == ["T/{1, 2}", "U/ours"]
    assert sorted(rows["protocol"]) == ["input", "original", "paper"]


def test_nothing_of_ray_is_left_behind(outcome: Outcome) -> None:
    assert not list((outcome.runs / "state").glob("*/placement_group"))
    assert not list((outcome.runs / "ray").glob("*"))
