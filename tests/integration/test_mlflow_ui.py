"""MLflow as users meet it: the tracker's runs in the real server's pages, two of them compared in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import RunConfig
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.run import run_in_process
from tests.integration.micro_sweep import plan_of

SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server as `make ui` starts it, on a store of its own."""
    root, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = [
        "--backend-store-uri",
        f"sqlite:///{root / 'mlflow.db'}",
        "--artifacts-destination",
        str(root / "artifacts"),
    ]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (root / "log").open("w") as log:
        process = subprocess.Popen([*command, *store], env=quiet, stdout=log, stderr=log, start_new_session=True)
        url, deadline = f"http://127.0.0.1:{port}", time.time() + 120
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (root / "log").read_text()
                assert time.time() < deadline, (root / "log").read_text()
                time.sleep(0.3)
        yield url
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def tracked(
    server: str, toy_root: Path, micro_run: RunConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tracker, list[str]]:
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
    return tracker, children


@pytest.mark.slow
def test_a_remote_server_holds_each_run_once_with_its_config_scores_and_files(
    tracked: tuple[Tracker, list[str]],
) -> None:
    tracker, children = tracked
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
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_the_real_ui_compares_two_runs(server: str, tracked: tuple[Tracker, list[str]]) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    tracker, children = tracked
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-sync",
    ):
        options.add_argument(flag)
    options.add_argument("--window-size=1500,1400")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        ids, experiments = json.dumps(children), json.dumps([tracker.experiment_id])
        browser.get(f"{server}/#/compare-runs?runs={ids}&experiments={experiments}")
        page = browser.find_element(By.TAG_NAME, "body")
        WebDriverWait(browser, 60).until(lambda _: "T/No FPN s0" in page.text and "T/{1} s0" in page.text)
        SHOTS.mkdir(parents=True, exist_ok=True)
        assert browser.save_screenshot(str(SHOTS / "mlflow-compare.png"))
        text = page.text
    finally:
        browser.quit()
    assert "Comparing 2 Runs" in text
