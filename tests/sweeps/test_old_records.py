"""What version 0.1 wrote stays done and in the tables after columns, metrics and protocols were added."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.evaluation.metrics import METRICS, Metric
from pipeline.evaluation.protocols import PROTOCOLS
from reports.build import build_tables
from reports.load import load_costs, load_runs
from reports.run_selection import Wanted
from sweeps.plan import plan_sweep
from sweeps.spec import Row, Sweep
from sweeps.status import describe

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "records" / "v1"
RUN = "micro-toyplus_unc-s0-b0aad334f2f9"
SWEEP = Sweep(name="old", title="a run of version 0.1", tables={"old": (Row(label="as it was"),)})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of version 0.1, in a project that has since got a column, a metric and a protocol."""
    from reports import load

    added = Metric(name="added", heading="added", columns=("iou",), formula=lambda iou: iou)
    monkeypatch.setitem(METRICS, "added", added)
    monkeypatch.setitem(PROTOCOLS, "later", replace(PROTOCOLS["original"], name="later"))
    for name in ("HISTORY_SCHEMA", "COST_SCHEMA"):
        monkeypatch.setattr(load, name, getattr(load, name).append(pa.field("later", pa.float64())))
    return Path(shutil.copytree(GOLDEN, tmp_path / "runs"))


def test_the_run_is_still_done(runs: Path, toy_root: Path, micro_run: RunConfig) -> None:
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(runs))
    plan = plan_sweep(SWEEP, lambda seed, _: replace(micro_run, seed=seed), execution, seeds=(0,))
    (cell,) = plan.cells
    assert (cell.state, cell.job and cell.job.run_id) == ("done", RUN)
    assert "toyplus_unc/val oIoU" in describe(plan).splitlines()[1]


def test_the_run_is_still_in_the_tables_with_its_samples_history_and_costs(runs: Path) -> None:
    report = build_tables(runs, ["VII-a", "III"], Wanted(), statistics=True, draws=50)
    assert report.problems == []
    (built,) = build_tables(runs, ["old"], Wanted(), statistics=False, sweeps={"old": SWEEP}).built
    assert set(built.choice.rows["run_id"]) == {RUN}
    found = load_runs(runs)
    assert found.run_ids == [RUN]
    assert found.records["added"].isna().all()
    rows = found.samples(RUN, "toyplus_unc/val", ["iou_original", "expression"])
    assert rows["iou_original"].between(0, 1).all()
    assert found.history(RUN)["later"].isna().all()
    costs, problems = load_costs(runs)
    assert (problems, set(costs["scale"]), costs["later"].isna().all()) == ([], {"micro"}, True)
