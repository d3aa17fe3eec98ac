"""Scores the trained cells of a sweep on more splits, one after the other; the records get the rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from pipeline.cli.evaluate_runs import evaluate_job
from pipeline.cluster.capacity import check_workers_fit
from pipeline.config import ExecutionConfig
from pipeline.data.catalog import parse_split
from pipeline.recorded_job import recorded_job
from sharedris.errors import InputError
from sweeps.plan import SweepPlan

SOME_FAILED = 3


def evaluate_sweep(
    plan: SweepPlan,
    splits: Sequence[str],
    execution: ExecutionConfig,
    *,
    batch_size: int | None = None,
    wants_curves: bool = False,
) -> int:
    """Add the splits that the records of a sweep lack; every run is checked before the first is evaluated.

    Returns:
        0, or 3 when a run failed.

    Raises:
        InputError: when no cell is trained, or a run cannot be evaluated on a split.
    """
    for split in splits:
        parse_split(split)
    trained = [planned.job.run_id for planned in plan.cells if planned.job is not None and planned.job.trained]
    if not trained:
        raise InputError(f"no cell of {plan.sweep.name} is trained", f"Run it first: make sweep-{plan.sweep.name}")
    execution = replace(execution, evaluation_batch_size=batch_size)
    check_workers_fit(execution)
    from pipeline.evaluation.check import check_scoring
    from pipeline.provenance import collect

    check_scoring()
    provenance = collect()
    jobs = [
        recorded_job(run_id, splits, execution, provenance, wants_curves=wants_curves)
        for run_id in dict.fromkeys(trained)
    ]
    use_ray = execution.workers > 1 or "RAY_ADDRESS" in os.environ
    done = [evaluate_job(job, use_ray=use_ray, experiment=f"sweep-{plan.sweep.name}") for job in jobs]
    return 0 if all(done) else SOME_FAILED
