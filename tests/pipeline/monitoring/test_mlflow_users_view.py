"""What MLflow's users look for in a run: its times, source, data, parameters, headline scores, model and tables."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.data import get_source
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND
from PIL import Image

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.prepared.manifest import load_manifest
from pipeline.job import Job, resolve_job
from pipeline.monitoring import mlflow_ui
from pipeline.monitoring.mlflow_moved import follow_move
from pipeline.monitoring.mlflow_params import used_parameters
from pipeline.monitoring.mlflow_registry import register_best
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.monitoring.tracked_runs import Parent, tracked_runs
from pipeline.records import (
    HISTORY_SCHEMA,
    RECORD_SCHEMA,
    history_path,
    read_table,
    record_path,
    write_table,
)
from pipeline.run import run_in_process
from pipeline.validation_rows import VALIDATION_SCHEMA, validation_path
from sharedris.baselines.config import SystemConfig
from sharedris.errors import InputError
from sharedris.predictor import Predictor
from sweeps.registry import SWEEPS
from sweeps.spec import cells_of

PROVENANCE = {"git_commit": "0123abc", "git_dirty": True, "versions_json": "{}"}


@pytest.fixture(scope="module")
def logged(toy_root: Path, micro_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracker, Job, Run]:
    """A finished run in a store of sqlite."""
    runs = tmp_path_factory.mktemp("logged") / "runs"
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(runs))
    job = resolve_job(micro_run, execution, provenance=PROVENANCE, cells=("T/ours",))
    run_in_process(job)
    tracker = Tracker(job.runs_root, "sweep-users")
    with tracked_runs(tracker, [], labels={job.run_id: "ours"}, done=[job]):
        pass
    (run,) = tracker.client.search_runs([tracker.experiment_id])
    return tracker, job, run


def test_source_user_and_kind_fill_the_columns_of_the_pages(logged: tuple[Tracker, Job, Run]) -> None:
    tracker, _, run = logged
    tags = run.data.tags
    assert tags["mlflow.source.git.commit"] == "0123abc"
    assert tags["mlflow.source.git.dirty"] == "true"
    assert tags["mlflow.source.type"] == "LOCAL"
    assert tags["mlflow.source.name"]
    assert tags["mlflow.user"]
    experiment = tracker.client.get_experiment(tracker.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] in run.data.metrics


def test_a_choice_of_the_user_for_an_experiment_stays(logged: tuple[Tracker, Job, Run]) -> None:
    tracker = Tracker(logged[0].runs_root, "own-choice")
    tracker.client.set_experiment_tag(tracker.experiment_id, "mlflow.experiment.primaryMetric.name", "val/miou")
    again = Tracker(logged[0].runs_root, "own-choice")
    tags = again.client.get_experiment(again.experiment_id).tags
    assert tags["mlflow.experiment.primaryMetric.name"] == "val/miou"


def test_a_recorded_run_has_the_times_of_its_record(logged: tuple[Tracker, Job, Run]) -> None:
    _, job, run = logged
    record = read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA).iloc[0]
    assert run.info.start_time == int(pd.Timestamp(record["started"]).timestamp() * 1000)
    assert run.info.end_time - run.info.start_time == int(1000 * record["seconds"])


def test_each_split_is_a_dataset_with_the_fingerprint_as_digest(logged: tuple[Tracker, Job, Run]) -> None:
    _, job, run = logged
    manifest = load_manifest(job.execution.prepared_root, "toyplus_unc")
    found = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    assert {context: data.name for context, data in found.items()} == {
        "training": "toyplus_unc/train",
        "evaluation": "toyplus_unc/val",
    }
    for data in found.values():
        assert manifest.fingerprint.startswith(data.digest)
        assert len(data.digest) >= 16
        assert (Path(get_source(data).uri) / "dataset.json").exists()
    assert json.loads(found["evaluation"].profile)["expressions"] == manifest.splits["val"].expressions


def test_headline_scores_are_those_of_the_first_split_under_original(logged: tuple[Tracker, Job, Run]) -> None:
    metrics = logged[2].data.metrics
    assert list(metrics)[:2] == ["val/oiou", "val/miou"]
    for name in ("oiou", "miou"):
        assert metrics[f"val/{name}"] == metrics[f"toyplus_unc/val/original/{name}"]


def test_headline_scores_come_first_for_a_run_that_logged_while_it_trained(logged: tuple[Tracker, Job, Run]) -> None:
    """They have no number until there is one: NaN, which is neither found by a search for scores nor the best."""
    tracker, job, finished = logged
    run = tracker.start(tracker.child(replace(job, content_hash="4" * 16), None, "live"), job.splits)
    tracker.epochs(run, read_table(history_path(job.runs_root, job.run_id), HISTORY_SCHEMA))
    training = tracker.client.get_run(run).data.metrics
    assert list(training)[:3] == ["val/oiou", "val/miou", "train/loss"]
    assert np.isnan([training["val/oiou"], training["val/miou"]]).all()

    def found(condition: str, order: str = "") -> list[str]:
        order_by = [order] if order else None
        runs = tracker.client.search_runs([tracker.experiment_id], condition, order_by=order_by)
        return [each.info.run_id for each in runs]

    assert run not in found("metrics.`val/oiou` > 0")
    for order in ("ASC", "DESC"):
        both = [each for each in found("", f"metrics.`val/oiou` {order}") if each in (run, finished.info.run_id)]
        assert both == [finished.info.run_id, run]
    for _ in range(2):
        tracker.close(job, run)
    shown = tracker.client.get_run(run).data.metrics
    assert list(shown)[:3] == ["val/oiou", "val/miou", "train/loss"]
    assert shown["val/oiou"] == shown["toyplus_unc/val/original/oiou"] == finished.data.metrics["val/oiou"]
    assert len(tracker.client.get_metric_history(run, "val/oiou")) == 2


def test_scores_and_precision_are_shown_as_table_and_figure_once(
    logged: tuple[Tracker, Job, Run], tmp_path: Path
) -> None:
    tracker, job, run = logged
    validations = pd.DataFrame({"step": [2, 4], "split": "toyplus_unc/val", "protocol": "original", "samples": 4})
    validations = validations.assign(epoch=1, oiou=[0.1, 0.2], miou=[0.1, 0.3], precision_at_50=0.0, seconds=1.0)
    write_table(validation_path(job.runs_root, job.run_id), validations, VALIDATION_SCHEMA)
    for _ in range(2):  # as by drivers that were killed just before they set the tag
        tracker.client.set_tag(
            run.info.run_id, "sharedris.recorded", "no"
        )  # as a driver that was killed just before it
        tracker._log_record(job, run.info.run_id)
    curve = tracker.client.get_metric_history(run.info.run_id, "validation/toyplus_unc/val/original/miou")
    assert [(metric.step, metric.value) for metric in curve] == [(2, 0.1), (4, 0.3)]
    file = tracker.client.download_artifacts(run.info.run_id, "tables/scores.json", str(tmp_path))
    table = pd.DataFrame(**json.loads(Path(file).read_text()))
    assert len(table) == 3
    assert set(table["protocol"]) == {"paper", "original", "input"}
    files = [entry.path for entry in tracker.client.list_artifacts(run.info.run_id, "figures")]
    assert files == ["figures/precision-toyplus_unc-val.png"]
    assert len(tracker.client.get_run(run.info.run_id).outputs.model_outputs) == 1


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")  # of MLflow's own types, on import
def test_the_logged_model_predicts_the_mask_that_the_run_predicts(logged: tuple[Tracker, Job, Run]) -> None:
    import mlflow.pyfunc

    tracker, job, run = logged
    (output,) = run.outputs.model_outputs
    model = tracker.client.get_logged_model(output.model_id)
    assert str(model.status) == "READY"
    of_model = {metric.key: (metric.dataset_name, metric.dataset_digest) for metric in model.metrics}
    evaluated = next(entry.dataset for entry in run.inputs.dataset_inputs if entry.tags[0].value == "evaluation")
    assert of_model["val/oiou"] == of_model["toyplus_unc/val/paper/miou"] == (evaluated.name, evaluated.digest)
    assert of_model["run/million_params"] == (None, None)
    place = Path(model.artifact_location.removeprefix("file://"))
    names = sorted(path.name for path in place.rglob("*") if path.is_file())
    assert names == ["MLmodel", "config.json", "model.safetensors", "tokenizer.model"], "nothing that holds code"
    weights = place / "data/model.safetensors"
    assert weights.samefile(job.model_folder / "model.safetensors"), "a link takes no space"

    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    loaded = mlflow.pyfunc.load_model(model.artifact_location)
    assert [column.name for column in loaded.metadata.signature.inputs] == ["image", "sentence"]
    found = loaded.predict(pd.DataFrame({"image": [stream.getvalue()], "sentence": ["red circle"]}))
    mask = np.array(Image.open(io.BytesIO(found["mask_png"][0])))
    expected = Predictor.from_run(job.model_folder).predict(image, "red circle")
    assert mask.shape == (40, 60)
    assert np.array_equal(mask > 127, expected.mask_HW)
    assert found["area_ratio"][0] == expected.area_ratio
    with pytest.raises(Exception, match="sentence"):
        loaded.predict(pd.DataFrame({"image": [b"no image"]}))


def test_the_best_model_is_registered_once(logged: tuple[Tracker, Job, Run]) -> None:
    tracker, job, run = logged
    for _ in range(2):
        version = register_best(tracker, [job], "shared-ris")
    assert int(version.version) == 1
    assert version.run_id == run.info.run_id
    assert version.source == tracker.client.get_logged_model(run.outputs.model_outputs[0].model_id).artifact_location
    assert tracker.client.get_model_version_by_alias("shared-ris", "best").version == version.version
    with pytest.raises(InputError, match="no cell of the sweep is done"):
        register_best(tracker, [replace(job, run_id="other")], "shared-ris")


def test_artifacts_are_found_after_the_folder_has_moved(logged: tuple[Tracker, Job, Run], tmp_path: Path) -> None:
    _, job, run = logged
    there = tmp_path / "a b" / "elsewhere"
    shutil.copytree(job.runs_root, there)
    shutil.rmtree(there / "state", ignore_errors=True)
    hidden = job.runs_root.with_name("hidden")
    job.runs_root.rename(hidden)  # nothing may be read at the place before
    try:
        assert follow_move(there) > 0
        assert follow_move(there) == 0
        client = MlflowClient(f"sqlite:///{there}/mlflow.db")
        downloaded = client.download_artifacts(run.info.run_id, f"records/{job.run_id}.parquet", str(tmp_path))
        assert len(pd.read_parquet(downloaded)) == 3
        model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
        assert model.artifact_location.startswith(there.as_uri())
        tracker = Tracker(there, "sweep-users")
        assert tracker.client.get_experiment(tracker.experiment_id).artifact_location.startswith(there.as_uri())
        with pytest.raises(FileNotFoundError):
            next(job.runs_root.iterdir())
    finally:
        hidden.rename(job.runs_root)


def test_a_store_without_its_artifacts_is_left_as_it_is(logged: tuple[Tracker, Job, Run], tmp_path: Path) -> None:
    shutil.copy(logged[1].runs_root / "mlflow.db", tmp_path / "mlflow.db")
    assert follow_move(tmp_path) == 0


def waiting(logged: tuple[Tracker, Job, Run]) -> Job:
    """Return a job of the same store that has not started."""
    job = logged[1]
    return resolve_job(replace(job.config, seed=7), job.execution, provenance=PROVENANCE)


def test_a_run_that_waited_starts_when_its_cell_does(logged: tuple[Tracker, Job, Run]) -> None:
    job = waiting(logged)
    tracker = Tracker(job.runs_root, "open")
    parent = Parent(key="sweep", tags={}, complete=lambda: False)
    with tracked_runs(tracker, [job], labels={job.run_id: "cell"}, parent=parent) as tracked:
        (waits,) = tracker.client.search_runs([tracker.experiment_id], "attributes.status = 'SCHEDULED'")
        time.sleep(0.05)
        began = int(time.time() * 1000)
        tracked.start(job)
        (runs,) = tracker.client.search_runs([tracker.experiment_id], "attributes.run_name = 'cell s7'")
        assert runs.info.status == "RUNNING"
        assert runs.info.start_time >= began > waits.info.start_time
        assert runs.data.params == waits.data.params
        assert runs.data.tags["mlflow.parentRunId"] == waits.data.tags["mlflow.parentRunId"]
        assert len(runs.inputs.dataset_inputs) == 2
    with tracked_runs(tracker, [job], labels={job.run_id: "cell"}) as tracked:  # it had started, so it is continued
        tracked.start(job)
        (again,) = tracker.client.search_runs([tracker.experiment_id], "attributes.run_name = 'cell s7'")
        assert again.info.run_id == runs.info.run_id


def test_a_run_whose_driver_was_killed_does_not_stay_running(
    logged: tuple[Tracker, Job, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = waiting(logged)
    tracker = Tracker(job.runs_root, "open")
    run = tracker.start(tracker.child(replace(job, content_hash="0" * 16), None, "killed"))
    address = mlflow_ui.opened_store(job.runs_root, "http://127.0.0.1:5000")
    said = capsys.readouterr()
    assert address.startswith("sqlite:///")
    page = f"http://127.0.0.1:5000/#/experiments/{tracker.experiment_id}/runs?workflowType=machine_learning"
    assert f"open: {page}" in said.err
    assert tracker.client.get_run(run).info.status == "KILLED"
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    address = mlflow_ui.opened_store(tmp_path, "http://127.0.0.1:5000")
    said = capsys.readouterr()
    assert address.startswith("sqlite:///")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("sweep", ["fpn", "fusion", "compared", "backbones", "framework"])
def test_parameters_of_other_kinds_are_not_shown(sweep: str, micro_run: RunConfig) -> None:
    seen = set()
    for cell in cells_of(SWEEPS[sweep], lambda seed, _: RunConfig(seed=seed), (0,)):
        if cell.config is None:
            continue
        model, names = cell.config.model, used_parameters(cell.config)
        seen.add(frozenset(names))
        ours, dual = model.system.kind == "shared_ris", model.system.encoder == "swin_bert"
        assert any(name.startswith("model.system.swin.") for name in names) == dual
        assert any(name.startswith("model.fpn.") for name in names) == ours
        for kind in ("cgformer", "dmmi"):
            reads = (model.decoder.kind if ours else model.system.kind) == kind
            assert any(name.startswith(f"model.decoder.{kind}.") for name in names) == reads
        assert {"model.encoder.image_size", "optim.learning_rate", "seed", "model.system.kind"} <= set(names)
        if ours:
            assert ("model.fpn.fusion.bi_width" in names) == (model.fpn.kind == "bi_direction")
    assert seen


def test_a_part_that_no_rule_names_is_shown(micro_run: RunConfig) -> None:
    assert used_parameters(micro_run)["model.system.encoder"] == SystemConfig().encoder


def test_a_server_without_logged_models_gets_the_rest(
    logged: tuple[Tracker, Job, Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker, job, _ = logged
    child = tracker.child(replace(job, content_hash="1" * 16), None, "old server")
    refused = MlflowException("no such path", error_code=ENDPOINT_NOT_FOUND)
    monkeypatch.setattr(tracker.client, "create_logged_model", Mock(side_effect=refused))
    tracker.close(job, child)
    found = tracker.client.get_run(child)
    assert found.info.status == "FINISHED"
    assert "val/oiou" in found.data.metrics
    assert len([line for line in caplog.messages if "no model is logged" in line]) == 1


def test_system_metrics_are_those_of_the_time_that_a_run_is_running(
    logged: tuple[Tracker, Job, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, job, _ = logged
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    run = tracker.start(tracker.child(replace(job, content_hash="2" * 16), None, "system"))
    deadline = time.monotonic() + 20
    while not any(name.startswith("system/cpu") for name in tracker.client.get_run(run).data.metrics):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    tracker.end(run, "interrupted")
    assert not tracker._system._monitors
    assert not any(thread.name == "SystemMetricsMonitor" for thread in threading.enumerate())
