"""The end of a run: the record is written first, and what only decorates it cannot fail a finished training."""

from __future__ import annotations

import json
import typing
from dataclasses import fields

import pandas as pd
import pyarrow as pa
import pytest

from pipeline import run_record, score_and_record
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.failures import failure
from pipeline.job import Job
from pipeline.records import RECORD_SCHEMA, RunRecord, read_table, record_path
from pipeline.run import run_in_process
from tests.integration.test_failures import job_of


def broken(*arguments: object, **options: object) -> typing.NoReturn:
    raise AttributeError("no attribute 'attend'")


def finished(job: Job) -> pd.DataFrame:
    run_in_process(job)
    assert job.done
    assert not list(job.state_folder.glob("checkpoint-*")), "the state of a finished run is removed"
    return read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)


def test_a_module_without_attention_maps_trains_to_its_record(
    micro_run: RunConfig,
    execution: ExecutionConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(score_and_record, "store_attention", broken)
    rows = finished(job_of(micro_run, execution))
    assert rows["miou"].notna().all()
    (line,) = [message for message in caplog.messages if "no attention maps" in message]
    assert line.endswith("AttributeError: no attribute 'attend'")


def test_a_module_whose_cost_cannot_be_counted_leaves_the_cost_columns_empty(
    micro_run: RunConfig,
    execution: ExecutionConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(run_record, "measure_cost", broken)
    rows = finished(job_of(micro_run, execution, epochs=1))
    assert rows["gmacs"].isna().all()
    assert rows["cost_json"].isna().all()
    assert rows["million_params"].gt(0).all()
    assert any("costs are left out of the record" in message for message in caplog.messages)


def test_a_record_holds_every_field_of_the_dataclass_with_its_type(
    micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    rows = finished(job_of(micro_run, execution, epochs=1))
    assert list(rows.columns) == ["schema_version", *(entry.name for entry in fields(RunRecord))]
    assert RECORD_SCHEMA.field("protocol_version").type == pa.int32()
    assert RECORD_SCHEMA.field("gmacs").type == pa.float64()
    assert RECORD_SCHEMA.field("cells").type == pa.list_(pa.string())
    assert json.loads(rows["left_out_json"].iloc[0]) == {}


def test_a_disk_that_fails_after_the_record_does_not_fail_the_run(
    micro_run: RunConfig,
    execution: ExecutionConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def read_only(job: Job) -> None:
        raise OSError(30, "Read-only file system", "state")

    job = job_of(micro_run, execution, epochs=1)
    monkeypatch.setattr(score_and_record, "remove_run_state", read_only)
    run_in_process(job)
    assert job.done
    assert failure(job) is None
    assert any("could not be removed" in message for message in caplog.messages)
