"""Publishing to MLflow: the report's files as artifacts of the sweep's parent run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.monitoring import mlflow_store
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.records import RecordError
from reports.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, on import


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, str, str]:
    """Return a client, its address and the id of an experiment on a fresh sqlite file."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow_store.make_database(tmp_path / "mlflow.db")
    found = MlflowClient(tracking_uri=uri)
    return found, uri, found.create_experiment("sweeps", artifact_location=str(tmp_path / "artifacts"))


def test_report_files_become_artifacts_of_the_parent_run(
    client: tuple,
    runs_root: Path,
    tmp_path: Path,  # type: ignore[type-arg]
) -> None:
    from reports.publish import publish

    mlflow_client, uri, experiment = client
    parent = mlflow_client.create_run(experiment, tags={"sharedris.sweep": "fpn tiny toyplus_unc"}).info.run_id
    newest = mlflow_client.create_run(experiment, tags={"sharedris.sweep": "fpnx tiny"}).info.run_id
    mlflow_client.create_run(experiment, tags={"sharedris.sweep": "fpn tiny", "mlflow.parentRunId": parent})
    out = tmp_path / "report"
    (out / "tables").mkdir(parents=True)
    (out / "index.html").write_text("page")
    (out / "tables" / "VII.md").write_text("table")
    (out / "tables" / "VII.csv").write_text("row,oIoU [%]\nNo FPN,58.1\n{6 12},\n")
    assert publish(out, "sweep:fpn", uri) == (parent, 3)
    assert publish(out, "sweep:", uri) == (newest, 3)
    names = {item.path for item in mlflow_client.list_artifacts(parent, "report")}
    assert names == {"report/index.html", "report/tables"}
    assert [item.path for item in mlflow_client.list_artifacts(parent, "report/tables")] == [
        "report/tables/VII.csv",
        "report/tables/VII.md",
    ]
    assert publish(out, parent, uri) == (parent, 3)
    shown = Path(mlflow_client.download_artifacts(parent, "tables/VII.json", str(tmp_path)))
    expected = {"columns": ["row", "oIoU [%]"], "data": [["No FPN", "58.1"], ["{6 12}", ""]]}
    assert json.loads(shown.read_text()) == expected, "not appended the second time"
    for wrong in ("sweep:none", "0123"):
        with pytest.raises(RecordError, match="MLflow run"):
            publish(out, wrong, uri)
    with pytest.raises(RecordError, match="no MLflow store"):
        publish(out, parent, f"sqlite:///{tmp_path / 'absent.db'}")


@pytest.mark.parametrize("name", ["a?b", "a#b c", "a%20b"])
def test_any_name_of_the_runs_folder_has_a_report_in_mlflow(name: str, tmp_path: Path) -> None:
    tracker = Tracker(tmp_path / name, "e")
    run = tracker.parent("fpn tiny toyplus_unc", {})
    code = main(["I", "--runs", str(tmp_path / name), "--mlflow-run", "sweep:fpn"])
    assert code == 1, "there are no records, which is the only problem"
    found = {item.path for item in tracker.client.list_artifacts(run, "report/tables")}
    assert "report/tables/I.md" in found
    assert [path.name for path in tmp_path.iterdir()] == [name]
