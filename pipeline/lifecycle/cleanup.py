"""Removes what a finished run no longer needs: its weights are in the exported model.

A run may be killed between its record and this clean-up, so the next command that finds the run done repeats it.
"""

from __future__ import annotations

import shutil

from pipeline.evaluation.threshold_counts import thresholds_path
from pipeline.files import remove_partials
from pipeline.job import Job
from pipeline.records import samples_path


def remove_checkpoints(job: Job) -> None:
    """Remove the checkpoints of a finished run. Needs no lock: every worker looks for the record first."""
    for path in job.state_folder.glob("*checkpoint-*"):
        path.unlink(missing_ok=True)


def remove_run_state(job: Job) -> None:
    """Remove checkpoints and the partial files of killed writers. Needs the run's lock: a writer may be at work."""
    remove_checkpoints(job)
    remove_partials(job.state_folder)
    for half_written in job.model_folder.parent.glob(f".{job.run_id}.*"):
        shutil.rmtree(half_written, ignore_errors=True)
    for split in job.splits:
        remove_partials(samples_path(job.runs_root, job.run_id, split).parent)
        remove_partials(thresholds_path(job.runs_root, job.run_id, split).parent)
    for folder in ("history", "validation", "records"):
        remove_partials(job.runs_root / folder, lambda name: name.startswith(f".{job.run_id}."))
