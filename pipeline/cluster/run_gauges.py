"""What the workers of a run do, as gauges of Ray's metrics: on the Prometheus endpoint of each node (docs/cluster.md).

Rank zero reports the run's progress file, and every rank its own memory. Without a dashboard agent nobody reads them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import MappingProxyType

import torch
from ray.util.metrics import Gauge

from pipeline.job import Job
from pipeline.monitoring.progress import Progress, read_progress
from pipeline.repeating import repeated
from pipeline.run_record import peak_memory_mib

GAUGES = MappingProxyType(
    {
        "sharedris_loss": "Mean training loss of the epoch so far",
        "sharedris_samples_per_second": "Training samples of all workers per second, mean of the last 50 steps",
        "sharedris_data_wait_ratio": "Part of a step in which rank zero waits for its batch, mean of the last 50 steps",
        "sharedris_mfu": "Model FLOPs of the epoch before / peak of the devices, where that is known",
        "sharedris_epoch": "Epoch that is being trained",
        "sharedris_step": "Optimizer steps taken",
        "sharedris_finished_ratio": "Finished part of the run, evaluation included",
        "sharedris_peak_memory_mib": "Peak memory of a worker: allocated on its GPU, or resident",
    }
)
"""Name -> meaning. All have the tag `run`; the memory has `rank` as well."""
REPORT_SECONDS = 2.0


@contextlib.contextmanager
def reported(job: Job, *, rank: int, device: torch.device) -> Iterator[None]:
    """Report a worker's gauges every few seconds, in a thread, while the block lasts."""
    gauges = {name: Gauge(name, text, tag_keys=("run", "rank")) for name, text in GAUGES.items()}

    def report() -> None:
        values = {"sharedris_peak_memory_mib": peak_memory_mib(device)}
        progress = read_progress(job.state_folder) if rank == 0 else None
        for name, value in {**values, **(_of_the_run(progress) if progress else {})}.items():
            gauges[name].set(value, tags={"run": job.run_id, "rank": str(rank)})

    try:
        with repeated(report, REPORT_SECONDS, name="gauges"):
            yield
    finally:
        report()


def _of_the_run(progress: Progress) -> dict[str, float]:
    """Return the values of a run's progress by the names of their gauges, without those that are unknown now."""
    known = {
        "sharedris_loss": progress.loss,
        "sharedris_samples_per_second": progress.samples_per_second,
        "sharedris_data_wait_ratio": progress.data_wait_ratio,
        "sharedris_mfu": progress.mfu,
        "sharedris_epoch": progress.epoch,
        "sharedris_step": progress.step,
        "sharedris_finished_ratio": progress.share,
    }
    return {name: float(value) for name, value in known.items() if value is not None}
