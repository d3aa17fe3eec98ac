"""What a run would take, before anything is started."""

from __future__ import annotations

from pipeline.cost import measure_cost
from pipeline.data.prepare import load_manifest
from pipeline.job import Job
from pipeline.trainer import make_plan
from pipeline.watch import format_seconds

FLOPS_PER_MAC = 2
TRAINING_FACTOR = 3
"""Forward once, backward twice: gradients of inputs and of weights cost a forward each."""


def training_samples(job: Job) -> int:
    """Return the expressions of the run's training splits, as the manifests count them (before leakage is removed)."""
    manifests = [load_manifest(job.execution.prepared_root, name) for name in job.config.data.train_sets]
    return sum(manifest.splits["train"].expressions for manifest in manifests)


def training_gmacs(job: Job) -> float:
    """Return the multiply-accumulates of the whole training, in units of 1e9."""
    plan = make_plan(job, training_samples(job))
    forward = sum(cost.gmacs for cost in measure_cost(job.config.model))
    return forward * TRAINING_FACTOR * plan.samples_per_epoch * plan.epochs


def describe_plan(job: Job, *, worker_gflops: float | None = None) -> str:
    """Return the plan in lines.

    Args:
        worker_gflops: sustained rate of one worker in GFLOP/s (two per multiply-accumulate); without it no hours.
    """
    plan = make_plan(job, training_samples(job))
    costs = measure_cost(job.config.model)
    gmacs = training_gmacs(job)
    lines = [
        f"run              {job.run_id} ({'done' if job.done else 'not done'})",
        f"model            {job.config.model.scale}, {job.config.model.variant}",
        f"parameters       {sum(cost.million_params for cost in costs):.2f} M",
        f"forward          {sum(cost.gmacs for cost in costs):.2f} GMACs a sample",
        f"training samples {training_samples(job)} in {', '.join(job.config.data.train_sets)}",
        f"steps            {plan.steps} = {plan.epochs} epochs x {plan.steps_per_epoch}",
        f"global batch     {job.config.train.global_batch_size} = {job.execution.workers} workers x "
        f"{job.accumulation} accumulated x {job.micro_batch_size}",
        f"precision        {job.config.train.precision}",
        f"evaluated        {', '.join(job.config.data.evaluate_splits)}",
        f"training work    {gmacs:.3g} GMACs (forward x {TRAINING_FACTOR})",
    ]
    if worker_gflops:
        seconds = gmacs * FLOPS_PER_MAC / (worker_gflops * job.execution.workers)
        lines.append(
            f"estimated time   {format_seconds(seconds)} = {seconds * job.execution.workers / 3600:.1f} worker-hours "
            f"at {worker_gflops:g} GFLOP/s a worker"
        )
    else:
        lines.append("estimated time   give --gflops, the sustained rate of one worker")
    return "\n".join(lines)
