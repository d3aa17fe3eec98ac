"""MLflow as users meet it: the tracker's runs in the real server's pages, two of them compared in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import RunConfig
from pipeline.job import Job
from pipeline.monitoring.mlflow_registry import register_best
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.run import run_in_process
from tests.integration.browser import chromium, needs_browser, save, seconds_until, text_of
from tests.integration.micro_sweep import plan_of
from tests.integration.mlflow_server import mlflow_server

Tracked = tuple[Tracker, list[str], list[Job]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server that also serves artifacts, on a store of its own."""
    root = tmp_path_factory.mktemp("mlflow")
    artifacts = ("--artifacts-destination", str(root / "artifacts"))
    with mlflow_server(f"sqlite:///{root / 'mlflow.db'}", root / "log", *artifacts) as url:
        yield url


@pytest.fixture(scope="module")
def tracked(server: str, toy_root: Path, micro_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """Two real runs, logged to the server that `MLFLOW_TRACKING_URI` names, each of them twice."""
    runs = tmp_path_factory.mktemp("runs")
    plan = plan_of(micro_run, str(toy_root), str(runs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server)
        tracker = Tracker(runs, "sweep-micro")
    parent = tracker.parent("micro", {"sharedris.kind": "sweep"})
    children = []
    for planned in plan.cells[:2]:
        assert planned.job is not None
        run_in_process(planned.job)
        for _ in range(2):  # what a second start of the sweep does
            child = tracker.child(planned.job, parent, planned.cell.label)
            tracker.close(planned.job, child)
        children.append(child)
    tracker.end(parent, "done")
    return tracker, children, [planned.job for planned in plan.cells[:2] if planned.job is not None]


@pytest.mark.slow
def test_a_remote_server_holds_each_run_once_with_its_config_scores_and_files(
    tracked: Tracked,
) -> None:
    tracker, children, _ = tracked
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 3
    run = tracker.client.get_run(children[0])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.fpn.kind"] == "none"
    assert run.data.tags["sharedris.state"] == "done"
    assert 0 <= run.data.metrics["toyplus_unc/val/original/miou"] <= 1
    folders = [entry.path for entry in tracker.client.list_artifacts(children[0])]
    files = [entry.path for folder in folders for entry in tracker.client.list_artifacts(children[0], folder)]
    assert any(path.endswith(".parquet") for path in files), folders


@pytest.mark.slow
def test_a_remote_server_holds_models_and_registers_the_best(tracked: Tracked) -> None:
    tracker, children, jobs = tracked
    (output,) = tracker.client.get_run(children[0]).outputs.model_outputs
    model = tracker.client.get_logged_model(output.model_id)
    assert model.artifact_location.startswith("mlflow-artifacts:"), "relative to the server: its folder may move"
    names = [entry.path for entry in tracker.client.list_logged_model_artifacts(model.model_id, "data")]
    assert sorted(Path(name).name for name in names) == ["config.json", "model.safetensors", "tokenizer.model"]
    for _ in range(2):
        version = register_best(tracker, jobs, "shared-ris")
    assert int(version.version) == 1
    assert tracker.client.get_model_version_by_alias("shared-ris", "best").run_id in children


@pytest.mark.slow
@needs_browser
def test_the_real_ui_compares_two_runs(server: str, tracked: Tracked) -> None:
    tracker, children, _ = tracked
    with chromium() as browser:
        ids, experiments = json.dumps(children), json.dumps([tracker.experiment_id])
        browser.get(f"{server}/#/compare-runs?runs={ids}&experiments={experiments}")
        seconds_until(browser, lambda: "T/No FPN s0" in text_of(browser) and "T/{1} s0" in text_of(browser))
        save(browser, "mlflow-compare")
        text = text_of(browser)
    assert "Comparing 2 Runs" in text
