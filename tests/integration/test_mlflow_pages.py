"""A hundred runs in MLflow's own pages: the table within 5 s, cells below their sweep, charts, a run and its model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.monitoring.mlflow_uri import tracking_uri
from pipeline.monitoring.tracked_runs import Parent, tracked_runs
from pipeline.records import HISTORY_SCHEMA, history_path, read_table
from tests.integration.browser import chromium, needs_browser, save, seconds_until, text_of
from tests.integration.mlflow_server import mlflow_server
from tests.integration.recorded_runs import write_many

pytestmark = [pytest.mark.slow, needs_browser, pytest.mark.timeout(900)]
LABELS = ("No FPN", "{1}", "{2}", "{1, 2}")
RUNS = 100


@pytest.fixture(scope="module")
def first_job(toy_root: Path, micro_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The job that the runs of the store are made from."""
    root = tmp_path_factory.mktemp("hundred")
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(root / "runs"))
    provenance = {"git_commit": "0123456789abcdef", "git_dirty": False, "versions_json": "{}"}
    return resolve_job(micro_run, execution, provenance=provenance, cells=("T/ours",))


@pytest.fixture(scope="module")
def hundred(first_job: Job) -> Iterator[tuple[Tracker, str]]:
    """A store of a hundred cells of a sweep, and a server's address."""
    root = first_job.runs_root.parent
    jobs = write_many(first_job, RUNS)
    tracker = Tracker(root / "runs", "sweep-micro")
    labels = {job.run_id: f"T/{LABELS[number % 4]}" for number, job in enumerate(jobs)}
    parent = Parent(key="micro", tags={"sharedris.kind": "sweep"}, complete=lambda: True)
    with tracked_runs(tracker, [], labels=labels, done=jobs, parent=parent):
        pass
    with mlflow_server(tracking_uri(root / "runs"), root / "server.log") as url:
        yield tracker, url


def test_a_hundred_runs_open_within_five_seconds(hundred: tuple[Tracker, str]) -> None:
    tracker, url = hundred
    page = f"{url}/#/experiments/{tracker.experiment_id}/runs?workflowType=machine_learning"
    seconds = []
    with chromium() as driver:
        for _ in range(3):
            driver.get("about:blank")
            driver.get(page)
            seconds.append(seconds_until(driver, lambda: f"{RUNS} matching runs" in text_of(driver)))
        open_sweep(driver)
        save(driver, "mlflow-runs")
        assert "toyplus_unc/train" in text_of(driver), "the column Dataset"
        driver.get(f"{page}&compareRunsMode=CHART")
        seconds_until(driver, lambda: "run/million_params" in text_of(driver))
        save(driver, "mlflow-charts")
    print(f"{RUNS} runs: {', '.join(f'{each:.1f}' for each in seconds)} s")
    assert min(seconds) < 5.0, seconds


def open_sweep(driver: Any) -> None:
    """Click on the sign that shows the cells below their sweep."""
    sign = "//a[normalize-space()='micro']/ancestor::*[.//button][1]//button"
    seconds_until(driver, lambda: bool(driver.find_elements("xpath", sign)))
    driver.find_elements("xpath", sign)[0].click()
    seconds_until(driver, lambda: any(f"T/{label} s" in text_of(driver) for label in LABELS))


def test_a_run_and_its_model_show_the_headline_scores(hundred: tuple[Tracker, str]) -> None:
    tracker, url = hundred
    run = tracker.client.search_runs([tracker.experiment_id], "attributes.run_name LIKE 'T/%'", max_results=1)[0]
    of_experiment = f"{url}/#/experiments/{tracker.experiment_id}"
    with chromium() as driver:
        driver.get(f"{of_experiment}/runs/{run.info.run_id}?workflowType=machine_learning")
        seconds_until(driver, lambda: "val/miou" in text_of(driver))
        shown = text_of(driver)
        save(driver, "mlflow-run")
        assert shown.index("val/oiou") < shown.index("train/loss")
        assert "0123456" in shown, "the commit"
        model_id = run.outputs.model_outputs[0].model_id
        driver.get("about:blank")
        driver.get(f"{of_experiment}/models/{model_id}?workflowType=machine_learning")
        seconds_until(driver, lambda: "val/miou" in text_of(driver))
        save(driver, "mlflow-model")
        driver.get("about:blank")
        driver.get(f"{of_experiment}/runs/{run.info.run_id}/artifacts/tables/scores.json?workflowType=machine_learning")
        seconds_until(driver, lambda: "oIoU [%]" in text_of(driver))
        save(driver, "mlflow-table")


def test_a_run_that_was_logged_while_it_trained_shows_its_headline_scores_first(
    hundred: tuple[Tracker, str], first_job: Job
) -> None:
    tracker, url = hundred
    live = Tracker(tracker.runs_root, "live")
    run = live.start(live.child(replace(first_job, content_hash="1" * 16), None, "T/live"), first_job.splits)
    live.epochs(run, read_table(history_path(first_job.runs_root, first_job.run_id), HISTORY_SCHEMA))
    with chromium() as driver:
        for name, last in (("mlflow-live", "train/world_size"), ("mlflow-live-done", "run/seconds")):
            driver.get("about:blank")
            driver.get(f"{url}/#/experiments/{live.experiment_id}/runs/{run}?workflowType=machine_learning")
            seconds_until(driver, lambda last=last: last in text_of(driver))
            save(driver, name)
            shown = text_of(driver)
            assert "NaN" not in shown
            if name == "mlflow-live":  # the page leaves out what has no number
                assert "val/oiou" not in shown
                live.close(first_job, run)
        assert shown.index("val/oiou") < shown.index("val/miou") < shown.index("train/loss")
