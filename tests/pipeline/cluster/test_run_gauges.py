"""Which numbers of a run Ray's metrics get, and that the Grafana dashboard asks for no other."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.cluster import run_gauges
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import Job, resolve_job
from pipeline.monitoring.progress import Progress

DASHBOARD = Path(__file__).resolve().parents[3] / "docs" / "grafana.json"


@pytest.fixture
def job(micro_run: RunConfig, execution: ExecutionConfig) -> Job:
    """A run that has a state folder."""
    job = resolve_job(micro_run, execution)
    job.state_folder.mkdir(parents=True)
    return job


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str, str], float]:
    """What was set: (name, run, rank) -> value."""
    found: dict[tuple[str, str, str], float] = {}

    class Gauge:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            self.name = name

        def set(self, value: float, tags: dict[str, Any]) -> None:
            found[self.name, tags["run"], tags["rank"]] = value

    monkeypatch.setattr(run_gauges, "Gauge", Gauge)
    return found


def test_rank_zero_reports_the_run_and_each_rank_its_memory(
    job: Job, values: dict[tuple[str, str, str], float]
) -> None:
    reading = Progress(run_id=job.run_id, phase="training", epoch=2, epochs=4, step=8, steps=16, loss=0.5, mfu=0.4)
    job.progress_file.write(reading)
    for rank in (0, 1):
        with run_gauges.reported(job, rank=rank, device=torch.device("cpu")):
            assert [thread.name for thread in threading.enumerate()].count("gauges") == 1
    assert "gauges" not in [thread.name for thread in threading.enumerate()]
    of_rank_zero = {name: value for (name, _, rank), value in values.items() if rank == "0"}
    assert of_rank_zero.pop("sharedris_peak_memory_mib") > 10
    assert of_rank_zero == {
        "sharedris_loss": 0.5,
        "sharedris_mfu": 0.4,
        "sharedris_epoch": 2.0,
        "sharedris_step": 8.0,
        "sharedris_finished_ratio": 0.95 * 8 / 16,
    }, "what is not known yet is not reported"
    assert [name for name, _, rank in values if rank == "1"] == ["sharedris_peak_memory_mib"]
    assert {run for _, run, _ in values} == {job.run_id}


def test_the_dashboard_shows_every_gauge_and_asks_for_no_other() -> None:
    text = DASHBOARD.read_text()
    asked = {name for name in re.findall(r"ray_(\w+)", text) if name.startswith("sharedris_")}
    assert asked == set(run_gauges.GAUGES)
    panels = json.loads(text)["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels) == len({panel["id"] for panel in panels})
