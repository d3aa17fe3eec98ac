"""What a run would take, before anything is started; its data may be missing."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.cost.flops import measure_planned_cost
from pipeline.cost.memory_plan import describe_peak
from pipeline.cost.planned_time import plan_step
from pipeline.cost.utilization import FLOPS_PER_MAC, TRAINING_FACTOR
from pipeline.data.catalog import find_set, published_expressions, published_refs
from pipeline.data.prepared.manifest import load_manifest
from pipeline.job import PerRankBatch, per_rank_batch_of
from pipeline.monitoring.durations import format_seconds
from pipeline.training.schedule import plan_steps
from sharedris.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SampleCounts:
    """Samples of a training epoch and samples to evaluate, and the source of the numbers."""

    training: int
    evaluated: int
    source: str


def count_samples(config: RunConfig, prepared_root: str) -> SampleCounts:
    """Return how many samples an epoch of a run trains on and how many it evaluates, before leakage is removed.

    The numbers are from the manifests of the prepared sets, and published ones for a set that is not prepared.

    Raises:
        InputError: for a set that is neither prepared nor of published size.
    """
    published: set[str] = set()
    splits = [*(f"{name}/train" for name in config.data.train_sets), *config.data.evaluate_splits]
    counts = {split: _counts_of(split, prepared_root, published) for split in splits}
    of_training = [counts[f"{name}/train"] for name in config.data.train_sets]
    one_per_ref = config.data.sentences_per_epoch == "one_per_ref"
    trained = sum(of_split.refs if one_per_ref else of_split.expressions for of_split in of_training)
    source = "as prepared"
    if published:
        source = f"published counts, not prepared here: {', '.join(sorted(published))}"
    return SampleCounts(
        training=trained,
        evaluated=sum(counts[split].expressions for split in config.data.evaluate_splits),
        source=source,
    )


@dataclass(frozen=True, kw_only=True)
class _SplitCounts:
    refs: int
    expressions: int


def _counts_of(split: str, prepared_root: str, published: set[str]) -> _SplitCounts:
    name, part = split.split("/")
    try:
        manifest = load_manifest(prepared_root, name)
    except InputError as not_prepared:
        find_set(name)
        try:
            known = _SplitCounts(refs=published_refs(split), expressions=published_expressions(split))
        except InputError:
            raise InputError(
                f"{split}: neither prepared below {prepared_root} nor of published size", not_prepared.remedy
            ) from None
        published.add(name)
        return known
    counts = manifest.splits.get(part)
    if counts is None:
        raise InputError(f"{name} has no split {part!r}", f"It has: {', '.join(sorted(manifest.splits))}")
    return _SplitCounts(refs=counts.refs, expressions=counts.expressions)


def describe_plan(
    config: RunConfig, execution: ExecutionConfig, *, state: str, worker_gflops: float | None = None
) -> str:
    """Return the plan in lines.

    Args:
        state: the run's name and whether it is done, in words.
        worker_gflops: sustained rate of one worker in GFLOP/s (two per multiply-accumulate); None for the roofline's.
    """
    counts = count_samples(config, execution.prepared_root)
    plan = plan_steps(config.train, counts.training)
    costs = measure_planned_cost(config.model)
    forward = sum(cost.gmacs for cost in costs)
    of_step = forward * TRAINING_FACTOR * config.train.global_batch_size
    training = forward * TRAINING_FACTOR * plan.samples_per_epoch * plan.epochs
    share = per_rank_batch_of(config, execution, execution.workers)
    lines = {
        "run": state,
        "model": f"{config.model.scale}, {config.model.variant}",
        "parameters": f"{sum(cost.million_params for cost in costs):.2f} M",
        "forward": f"{forward:.2f} GMACs a sample",
        "samples": f"{counts.training} to train in {', '.join(config.data.train_sets)}{_sentences_in_words(config)}; "
        f"{counts.evaluated} to evaluate in {', '.join(config.data.evaluate_splits)} ({counts.source})",
        "epochs": f"{plan.epochs} x {plan.steps_per_epoch} steps = {plan.steps} optimizer steps, "
        f"{plan.samples_per_epoch * plan.epochs} samples",
        "global batch": _batch_in_words(config, execution, share),
        "optimizer": _optimizer_in_words(config),
        "precision": config.train.precision,
        "peak memory": describe_peak(config, execution),
        "training work": f"{training:.3g} GMACs (forward x {TRAINING_FACTOR})",
        "evaluation work": f"{forward * counts.evaluated:.3g} GMACs",
        **_times(of_step, training + forward * counts.evaluated, config, execution, worker_gflops),
    }
    return "\n".join(f"{name:<16} {text}" for name, text in lines.items())


def _sentences_in_words(config: RunConfig) -> str:
    return ", one sentence per ref and epoch" if config.data.sentences_per_epoch == "one_per_ref" else ""


def _batch_in_words(config: RunConfig, execution: ExecutionConfig, share: PerRankBatch) -> str:
    return (
        f"{config.train.global_batch_size} = {execution.workers} workers x {share.micro_batch_size} samples "
        f"x {share.accumulation} accumulated"
    )


def _optimizer_in_words(config: RunConfig) -> str:
    optim = config.optim
    decayed = "all parameters" if optim.decay_norms_and_biases else "matrices only"
    return (
        f"AdamW {optim.learning_rate:g}, betas {optim.betas}, weight decay {optim.weight_decay:g} on {decayed}, "
        f"{optim.schedule} per step, clip {optim.clip_norm:g}, drop path {config.model.encoder.drop_path:g}"
    )


def _times(
    of_step: float, gmacs: float, config: RunConfig, execution: ExecutionConfig, given: float | None
) -> dict[str, str]:
    """Return the lines on time, by a given rate or by the roofline of the device that the run would use.

    Args:
        of_step: GMACs of an optimizer step.
        gmacs: of the whole run. Evaluation takes the rate of training.
        config: of the run.
        execution: its workers and device.
        given: GFLOP/s of one worker.
    """
    if given:
        step, gflops, mfu, source = of_step * FLOPS_PER_MAC / given / execution.workers, given, None, "given"
    else:
        try:
            planned = plan_step(config, execution)
        except InputError as error:
            return {"step time": f"not known: {error.message}", "estimated time": error.remedy}
        step, source = planned.seconds, planned.rests_on
        gflops = of_step * FLOPS_PER_MAC / step / execution.workers
        mfu = gflops * 1e9 / planned.peak_flops
    seconds = gmacs * FLOPS_PER_MAC / gflops
    hours = f"{format_seconds(seconds / execution.workers)} = {seconds / 3600:.1f} worker-hours"
    lines = {"step time": f"{step:.3g} s of {config.train.global_batch_size} samples ({source})"}
    if mfu is not None:
        lines["MFU"] = f"{mfu:.0%} of {planned.peak_flops / 1e12:.3g} TFLOP/s"
    return lines | {"estimated time": f"{hours} at {gflops:.4g} GFLOP/s a worker, without loading of data"}
