"""Old records get the scores of metrics and protocols that were added later; what is on disk stays."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.evaluation.check import check_scoring
from pipeline.evaluation.metrics import METRICS, Metric, score
from pipeline.evaluation.protocols import ORIGINAL, PROTOCOLS, Protocol
from pipeline.job import resolve_job
from pipeline.lifecycle.locks import driver_lock
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.records import RECORD_SCHEMA, SAMPLE_SCHEMA
from pipeline.run import run_in_process
from sharedris.errors import InputError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "records" / "v1"
PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
AREA = Metric(
    name="area_iou", heading="aIoU", columns=("iou", "area_ratio"), formula=lambda iou, area: (iou * area, area)
)
SOFT = Protocol(
    name="soft",
    version=3,
    rule="as original, at a threshold that few pixels reach",
    scored_at="original",
    binarize=lambda map_HW, size, threshold: ORIGINAL.binarize(map_HW, size, 0.999),
)
SOFT_AS_ORIGINAL = replace(SOFT, name="original")
OVERLAP = Metric(
    name="overlap",
    heading="overlap",
    columns=("per_mask",),
    formula=lambda value: value,
    per_mask=lambda mask, target: (mask & target).sum() / (mask | target).sum() if (mask | target).any() else 1.0,
)


@pytest.fixture(scope="module")
def trained(toy_root: Path, micro_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with one finished run that no added metric or protocol knew."""
    runs = tmp_path_factory.mktemp("trained")
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(runs))
    run_in_process(resolve_job(micro_run, execution, provenance=PROVENANCE))
    return runs


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def rescore(runs: Path, prepared: Path) -> int:
    return main(["runs", "rescore", "all", "--runs", str(runs), "--prepared", str(prepared), "--device", "cpu"])


def read(runs: Path, kind: str) -> pd.DataFrame:
    (path,) = (runs / kind).rglob("*.parquet")
    return pd.read_parquet(path)


def test_a_metric_needs_neither_model_nor_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GOLDEN, tmp_path / "runs")
    before = read(tmp_path / "runs", "records")
    monkeypatch.setitem(METRICS, "area_iou", AREA)
    assert rescore(tmp_path / "runs", tmp_path / "nowhere") == 0
    after, samples = read(tmp_path / "runs", "records"), read(tmp_path / "runs", "samples")
    pd.testing.assert_frame_equal(after[list(before.columns)], before, check_exact=True)
    for _, row in after.iterrows():
        iou, area = samples[f"iou_{row['protocol']}"], samples["area_ratio"]
        assert row["area_iou"] == pytest.approx((iou * area).sum() / area.sum())
    (entry,) = json.loads(after["rescored_json"].iloc[0])
    assert (entry["metrics"], entry["protocols"]) == (["area_iou"], [])
    assert "git_commit" in entry


def test_a_protocol_is_scored_by_the_model_and_keeps_the_old_rows(
    runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record, samples = read(runs, "records"), read(runs, "samples")
    monkeypatch.setitem(PROTOCOLS, "soft", SOFT)
    assert rescore(runs, toy_root) == 0
    assert "added protocol soft" in capsys.readouterr().out
    new_record, new_samples = read(runs, "records"), read(runs, "samples")
    pd.testing.assert_frame_equal(new_samples[samples.columns], samples, check_exact=True)
    old = new_record[new_record["protocol"] != "soft"].drop(columns="rescored_json").reset_index(drop=True)
    pd.testing.assert_frame_equal(old, record.drop(columns="rescored_json"), check_exact=True)
    (row,) = new_record[new_record["protocol"] == "soft"].to_dict("records")
    assert row["protocol_version"] == 3
    expected = score(new_samples, SOFT, input_size=32)
    assert {name: None if pd.isna(row[name]) else row[name] for name in expected.values} == expected.values
    assert row["oiou"] != record.set_index("protocol")["oiou"]["original"]
    content = next((runs / "records").glob("*.parquet")).read_bytes()
    assert rescore(runs, toy_root) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert next((runs / "records").glob("*.parquet")).read_bytes() == content


def test_columns_of_another_plugin_stay(runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as first:
        first.setitem(METRICS, "area_iou", AREA)
        assert rescore(runs, toy_root) == 0
    values = read(runs, "records")["area_iou"]
    monkeypatch.setitem(METRICS, "other", Metric(name="other", heading="o", columns=("iou",), formula=lambda iou: iou))
    assert rescore(runs, toy_root) == 0
    after = read(runs, "records")
    assert after["area_iou"].equals(values)
    assert after["other"].equals(after["miou"].rename("other"))
    assert [entry["metrics"] for entry in json.loads(after["rescored_json"].iloc[0])] == [["area_iou"], ["other"]]


def test_a_raised_version_is_scored_again_and_the_one_before_is_named(
    runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, samples = read(runs, "records"), read(runs, "samples")
    monkeypatch.setitem(PROTOCOLS, "original", SOFT_AS_ORIGINAL)
    assert rescore(runs, toy_root) == 0
    after = read(runs, "records").set_index("protocol")
    assert after["protocol_version"].to_dict() == {"paper": 1, "original": 3, "input": 1}
    expected = score(read(runs, "samples"), SOFT_AS_ORIGINAL, input_size=32)
    assert after["oiou"]["original"] == expected.values["oiou"] != before.set_index("protocol")["oiou"]["original"]
    (entry,) = json.loads(after["rescored_json"]["paper"])
    assert (entry["protocols"], entry["replaced"]) == (["original"], {"original": 1})
    kept = [name for name in samples if not name.endswith("_original") and name != "mask_rle"]
    pd.testing.assert_frame_equal(read(runs, "samples")[kept], samples[kept], check_exact=True)
    content = next((runs / "records").glob("*.parquet")).read_bytes()
    assert rescore(runs, toy_root) == 0
    assert next((runs / "records").glob("*.parquet")).read_bytes() == content


def test_a_metric_of_masks_is_stored_and_filled_from_the_model(
    runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(METRICS, "overlap", OVERLAP)
    check_scoring()
    assert rescore(runs, toy_root) == 0
    assert "added metric overlap" in capsys.readouterr().out
    samples, record = read(runs, "samples"), read(runs, "records").set_index("protocol")
    for protocol in PROTOCOLS:
        assert samples[f"overlap_{protocol}"].tolist() == samples[f"iou_{protocol}"].tolist()
        assert record["overlap"][protocol] == pytest.approx(record["miou"][protocol])
    (runs / "models").rename(runs / "away")  # a second metric of the same column needs no model
    assert rescore(runs, toy_root) == 0


def test_a_metric_of_masks_that_gives_no_number_is_refused_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "overlap", replace(OVERLAP, per_mask=lambda mask, target: mask.sum() / target.sum()))
    with np.errstate(all="ignore"), pytest.raises(InputError, match="metric 'overlap' of .*: per_mask gives nan"):
        check_scoring()


def test_a_run_that_is_held_is_not_rescored(
    runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(METRICS, "area_iou", AREA)
    (run,) = [path.stem for path in (runs / "records").glob("*.parquet")]
    with driver_lock(runs / "state" / run):
        assert rescore(runs, toy_root) == 2
    assert f"{run} is being run by" in capsys.readouterr().err
    assert "area_iou" not in read(runs, "records")


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", "held"])
def test_a_damaged_or_held_run_keeps_no_other_from_its_scores(
    damage: bytes | str, runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(METRICS, "area_iou", AREA)
    (whole,) = (runs / "records").glob("*.parquet")
    other = whole.with_name("a-first-one.parquet")  # sorts before the whole one
    other.write_bytes(whole.read_bytes() if isinstance(damage, str) else damage)
    with driver_lock(runs / "state" / other.stem) if damage == "held" else nullcontext():
        assert rescore(runs, toy_root) == 2
    printed = capsys.readouterr()
    assert "a-first-one" in printed.err
    assert "1 of 2 runs could not be rescored" in printed.err
    assert "area_iou" in pd.read_parquet(whole)


def test_mlflow_gets_the_new_scores(
    runs: Path, toy_root: Path, micro_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(runs))
    job = resolve_job(micro_run, execution, provenance=PROVENANCE)
    tracker = Tracker(runs, "e")
    run = tracker.child(job, None, "micro")
    tracker.close(job, run)
    monkeypatch.setitem(METRICS, "area_iou", AREA)
    assert rescore(runs, toy_root) == 0
    logged = tracker.client.get_run(run).data.metrics
    record = read(runs, "records").set_index("protocol")
    assert logged["toyplus_unc/val/original/area_iou"] == record["area_iou"]["original"]
    assert len(tracker.client.get_metric_history(run, "toyplus_unc/val/original/miou")) == 1


@pytest.mark.parametrize("cause", ["no run", "no model", "no data", "no samples", "broken metric"])
def test_what_is_missing_is_one_line_and_nothing_is_written(
    cause: str, runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PROTOCOLS, "soft", SOFT)
    prepared = toy_root
    if cause == "no model":
        shutil.rmtree(runs / "models")
    elif cause == "no data":
        prepared = runs / "nowhere"
    elif cause == "no samples":
        shutil.rmtree(runs / "samples")
    elif cause == "broken metric":
        monkeypatch.setitem(
            METRICS, "x", Metric(name="x", heading="X", columns=("depth",), formula=lambda depth: depth)
        )
    (path,) = (runs / "records").glob("*.parquet")
    content = path.read_bytes()
    name = "nothing" if cause == "no run" else path.stem
    assert main(["runs", "rescore", name, "--runs", str(runs), "--prepared", str(prepared), "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("sharedris runs rescore: ")
    assert path.read_bytes() == content


def test_data_that_was_prepared_otherwise_is_refused(
    runs: Path, toy_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.records import samples_path, write_table

    monkeypatch.setitem(PROTOCOLS, "soft", SOFT)
    (path,) = (runs / "samples").rglob("*.parquet")
    rows = pq.read_table(path).to_pandas().drop(columns="schema_version")
    write_table(path, rows.assign(sent_id=rows["sent_id"] + 1), SAMPLE_SCHEMA)
    assert samples_path(runs, path.parts[-3], f"{path.parts[-2]}/val") == path
    assert rescore(runs, toy_root) == 2
    assert "has other samples than the prepared" in capsys.readouterr().err


def test_the_record_of_a_run_has_no_history_of_rescoring(runs: Path) -> None:
    last = ["predictions_json", "evaluated_json", "mfu", "worker_hours", "checkpoint_selection"]
    assert RECORD_SCHEMA.names[-5:] == last
    assert read(runs, "records")["rescored_json"].isna().all()
