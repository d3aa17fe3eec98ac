"""States from files alone: missing, done, failed, forgotten; who runs a sweep; what it would take."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.failures import write_failure
from pipeline.job import Job
from pipeline.lifecycle.locks import driver_lock
from pipeline.run import run_in_process
from sharedris.errors import InputError
from sweeps.cost_estimate import cell_cost_of
from sweeps.cost_report import cost_report
from sweeps.evaluate import evaluate_sweep
from sweeps.plan import SweepPlan, plan_sweep, sweep_folder
from sweeps.status import describe, forget, stop
from tests.integration.micro_sweep import plan_of


@pytest.fixture(scope="module")
def plan(toy_root: Path, micro_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> SweepPlan:
    """The micro sweep with its first cell done and its last one failed."""
    plan = plan_of(micro_run, str(toy_root), str(tmp_path_factory.mktemp("runs")))
    first, last = plan.cells[0].job, plan.cells[-1].job
    assert first is not None
    assert last is not None
    run_in_process(first)
    write_failure(last, RuntimeError(), "NonFiniteLossError: loss is not finite at step 1", "trace")
    return plan


def test_every_state_is_said(plan: SweepPlan) -> None:
    lines = describe(plan).splitlines()
    assert "5 rows, 4 distinct cells" in lines[0]
    assert lines[1].split()[:2] == ["done", "T/No"]
    assert "toyplus_unc/val oIoU" in lines[1]
    assert "missing" in lines[2]
    assert lines[3].endswith("also U/ours")
    assert "failed: NonFiniteLossError: loss is not finite at step 1" in lines[4]


def test_forgetting_a_cell_makes_it_missing_again(plan: SweepPlan) -> None:
    with pytest.raises(InputError, match="no built cell 'T/none'.*T/No FPN"):
        forget(plan, "T/none")
    job = plan.cells[0].job
    assert job is not None
    assert forget(plan, "T/No FPN") == [job.run_id]
    assert plan.cells[0].state == "missing"
    run_in_process(job)
    assert plan.cells[0].state == "done"


def test_stop_names_the_sweep_that_nothing_runs(plan: SweepPlan) -> None:
    with pytest.raises(InputError, match="no driver runs micro below"):
        stop(plan)


def test_a_second_driver_is_told_who_holds_the_sweep(plan: SweepPlan) -> None:
    folder = sweep_folder(plan)
    held = f"process {os.getpid()} on {socket.gethostname()}"
    with driver_lock(folder), pytest.raises(InputError, match=held), driver_lock(folder):
        pytest.fail("two drivers hold one sweep")


def test_missing_data_is_a_state_of_the_plan_and_an_error_of_the_run(micro_run: RunConfig, tmp_path: Path) -> None:
    from sweeps.registry import SWEEPS

    execution = ExecutionConfig(prepared_root=str(tmp_path), runs_root=str(tmp_path / "runs"))

    def default(seed: int, scale: str | None) -> RunConfig:
        return replace(micro_run, seed=seed)

    states = {p.state for p in plan_sweep(SWEEPS["toys"], default, execution, seeds=(0,), tolerant=True).cells}
    assert states == {"no data"}
    with pytest.raises(InputError, match="not prepared"):
        plan_sweep(SWEEPS["toys"], default, execution, seeds=(0,))


def test_the_costs_add_up(plan: SweepPlan, toy_root: Path, micro_run: RunConfig) -> None:
    cost = cell_cost_of(micro_run, str(toy_root), plan.runs_root)
    assert cost.steps == micro_run.train.epochs * 4
    # Costs that are on disk are not measured again, so the paper's scale is quick where they were.
    text = cost_report(plan, str(toy_root), gflops=10.0, price=2.0, paper_gflops=1e5)
    assert "missing: 3 cells, 24 optimizer steps" in text
    assert "(given)" in text
    assert cost.worker_seconds(gflops=10.0) == pytest.approx(cost.gmacs * 2 / 10.0)


def test_a_named_gpu_gives_the_rate_of_the_papers_scale(
    plan: SweepPlan, toy_root: Path, micro_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps import cost_estimate

    wide = replace(micro_run, train=replace(micro_run.train, global_batch_size=112))
    monkeypatch.setattr(cost_estimate, "default_run", lambda **asked: wide)
    text = cost_report(plan, str(toy_root), gflops=10.0, paper_gpu="A100")
    assert "GFLOP/s each (roofline of A100, not measured: rates as fitted on other GPUs, no GPU has confirmed" in text
    assert "name the kind of the 8 GPUs with --accelerator-type" in cost_report(plan, str(toy_root), gflops=10.0)
    with pytest.raises(InputError, match="MI300X is not in the table of devices"):
        cost_report(plan, str(toy_root), gflops=10.0, paper_gpu="MI300X")


def test_a_plan_measures_this_machines_rate(micro_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps import cost_estimate

    monkeypatch.setattr(cost_estimate, "_WARM_UP_SECONDS", 0.05)
    assert cost_estimate.measure_gflops(micro_run) > 0.01


def test_a_sweep_with_other_splits_evaluates_only_what_its_runs_lack(
    plan: SweepPlan, toy_root: Path, micro_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = plan.cells[0].job
    assert job is not None
    run_in_process(job)
    split = "toyplus_unc/testA"
    other = replace(micro_run, data=replace(micro_run.data, evaluate_splits=(split,)))
    again = plan_of(other, str(toy_root), str(plan.runs_root))
    first = again.cells[0].job
    assert first is not None
    assert (again.cells[0].state, first.run_id) == ("missing", job.run_id)
    assert f"trained, {split} to evaluate" in describe(again)
    taken: list[tuple[str, tuple[str, ...]]] = []

    def taking(job: Job, **_: object) -> bool:
        taken.append((job.run_id, job.missing_splits))
        return True

    monkeypatch.setattr("sweeps.evaluate.evaluate_job", taking)
    assert evaluate_sweep(plan, [split], first.execution) == 0
    assert taken == [(first.run_id, (split,))], "cells without a record are left out"
    run_in_process(first)
    assert again.cells[0].state == "done"
    assert plan.cells[0].state == "done"
