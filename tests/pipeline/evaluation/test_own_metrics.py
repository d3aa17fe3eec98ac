"""A metric or protocol that is added once appears in samples, records, MLflow and lists, and is checked before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.check import check_scoring
from pipeline.evaluation.metrics import METRICS, Metric, record_schema, score
from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.monitoring.headline import split_scores
from pipeline.monitoring.mlflow_record import final_metrics
from pipeline.preflight import check_space
from pipeline.records import RECORD_SCHEMA, SAMPLE_SCHEMA, read_table
from sharedris.errors import InputError

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "records" / "v1"
LARGE = Metric(
    name="large_miou",
    heading="large mIoU",
    columns=("iou", "area_ratio"),
    formula=lambda iou, area: (iou * (area > 0.02), (area > 0.02).astype(np.int64)),
)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Metric:
    """Register a metric of a user's own."""
    monkeypatch.setitem(METRICS, LARGE.name, LARGE)
    return LARGE


@pytest.fixture
def soft(monkeypatch: pytest.MonkeyPatch) -> Protocol:
    """Register a protocol of a user's own."""
    found = Protocol(
        name="soft",
        version=1,
        rule="as original, at half the threshold",
        scored_at="original",
        binarize=lambda map_HW, size, threshold: PROTOCOLS["original"].binarize(map_HW, size, threshold / 2),
    )
    monkeypatch.setitem(PROTOCOLS, "soft", found)
    return found


def golden_samples() -> pd.DataFrame:
    (path,) = (GOLDEN / "samples").rglob("*.parquet")
    return read_table(path, sample_schema())


def test_an_added_metric_has_a_score_from_old_rows_and_a_column_after_those_of_the_base(large: Metric) -> None:
    rows = golden_samples()
    scores = score(rows, PROTOCOLS["original"], input_size=32)
    chosen = rows[rows["area_ratio"] > 0.02]
    assert scores.values["large_miou"] == pytest.approx(chosen["iou_original"].mean())
    assert record_schema().names == [*RECORD_SCHEMA.names, "large_miou"]


def test_an_added_metric_is_in_mlflow_and_in_the_list_of_runs_and_null_before(large: Metric) -> None:
    (path,) = (GOLDEN / "records").glob("*.parquet")
    record = read_table(path, record_schema())
    assert record["large_miou"].isna().all()
    assert not [name for name, _ in final_metrics(record) if "large" in name]
    scored = record.assign(large_miou=0.25)
    assert [value for name, value in final_metrics(scored) if name.endswith("original/large_miou")] == [0.25]
    assert split_scores(record.iloc[0]) + "  large mIoU 25.00" == split_scores(scored.iloc[0])


def test_an_added_protocol_has_columns_after_those_of_the_base(soft: Protocol) -> None:
    added = ["intersection_soft", "union_soft", "iou_soft", "boundary_iou_soft"]
    assert sample_schema().names == [*SAMPLE_SCHEMA.names, *added]
    assert golden_samples()["iou_soft"].isna().all()
    check_scoring()


def test_a_metric_that_fails_after_training_has_no_score_and_fails_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Metric(name="failing", heading="F", columns=("iou",), formula=lambda iou: iou / "x")
    monkeypatch.setitem(METRICS, "failing", failing)
    scores = score(golden_samples(), PROTOCOLS["original"], input_size=32)
    assert scores.values["failing"] is None
    assert scores.values["miou"] is not None
    assert "metric failing has no score under protocol original: TypeError" in caplog.text


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        (Metric(name="x", heading="X", columns=("depth",), formula=lambda depth: depth), "no column depth"),
        (Metric(name="x", heading="X", columns=("iou",), formula=lambda iou: iou[:2]), r"shape \(2,\) for 3 samples"),
        (Metric(name="x", heading="X", columns=("iou",), formula=lambda: 1), "TypeError"),
        (Metric(name="P@X", heading="X", columns=("iou",), formula=lambda iou: iou), "lower-case letters"),
        (Metric(name="samples", heading="X", columns=("iou",), formula=lambda iou: iou), "another column samples"),
    ],
)
def test_a_metric_that_breaks_its_contract_is_named_with_its_file(
    metric: Metric, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, metric.name, metric)
    with pytest.raises(InputError, match=rf"metric '.*' of .*test_own_metrics\.py: .*{reason}"):
        check_scoring()


def test_a_protocol_that_gives_another_shape_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Protocol(
        name="raw", version=1, rule="none", scored_at="original", binarize=lambda map_HW, size, threshold: map_HW > 0.5
    )
    monkeypatch.setitem(PROTOCOLS, "raw", wrong)
    with pytest.raises(InputError, match=r"protocol 'raw' of .*bool \(4, 4\), not a bool mask \(5, 6\)"):
        check_scoring()
    monkeypatch.setitem(PROTOCOLS, "raw", PROTOCOLS["paper"])
    with pytest.raises(InputError, match="registered as 'raw' and named 'paper'"):
        check_scoring()


def test_the_space_of_a_run_is_checked(micro_run: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_space([micro_run], tmp_path)  # type: ignore[list-item]
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("pipeline.preflight.shutil.disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="has 0 MiB free"):
        check_space([micro_run], tmp_path)  # type: ignore[list-item]
