"""What a finished run needs no more: its weights are in the exported model, its optimizer is of no further use.

A run may be killed between its record and this, so whoever meets a run that is done removes it once more.
"""

from __future__ import annotations

import shutil

from pipeline.files import remove_partials
from pipeline.job import Job
from pipeline.records import samples_path


def remove_checkpoints(job: Job) -> None:
    """Remove the checkpoints of a finished run; harmless whoever else is at it, since a record is looked for first."""
    for path in job.state_folder.glob("*checkpoint-*"):
        path.unlink(missing_ok=True)


def remove_run_state(job: Job) -> None:
    """Remove these and what killed writers left half-written under the run's name; for who holds its lease."""
    remove_checkpoints(job)
    remove_partials(job.state_folder)
    for half_written in job.model_folder.parent.glob(f".{job.run_id}.*"):
        shutil.rmtree(half_written, ignore_errors=True)
    for split in job.config.data.evaluate_splits:
        remove_partials(samples_path(job.runs_root, job.run_id, split).parent)
    for folder in ("history", "records"):
        remove_partials(job.runs_root / folder, lambda name: name.startswith(f".{job.run_id}."))
