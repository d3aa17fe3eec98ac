"""The training of one run: epochs, steps, checkpoints. The same code under Ray Train and in the driver's own process.

A run that was interrupted goes on from its newest whole checkpoint and ends with the same bits: the state of every
rank's generators, the position in the epoch and the sums of the unfinished epoch are part of the checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from pipeline.config import ExecutionConfig
from pipeline.cost.devices import emulation_warning
from pipeline.cost.utilization import model_flops_utilization, model_gmacs
from pipeline.data.dataset.combined import training_dataset
from pipeline.data.dataset.loader import Batch
from pipeline.data.dataset.one_per_ref import OneSentencePerRef
from pipeline.data.dataset.prefetch import prefetch
from pipeline.data.dataset.train_loader import TrainLoader, loader_processes
from pipeline.data.dataset.unreadable import ReplaceUnreadable
from pipeline.distributed.batch_statistics import step_groups, with_batch_statistics
from pipeline.distributed.ddp import wrap_for_training
from pipeline.distributed.process_group import Worker, seed_everything
from pipeline.distributed.sync_batch_norm import leave_out_of_graphs
from pipeline.job import Job
from pipeline.lifecycle.save_request import take_request
from pipeline.monitoring.progress import Progress, ProgressFile
from pipeline.training.model_with_loss import ModelWithLoss
from pipeline.training.optimizer import build_optimizer, learning_rate_at, set_learning_rate
from pipeline.training.pretrained import load_initial_weights
from pipeline.training.readings import UnreadSteps
from pipeline.training.resume import load_checkpoint
from pipeline.training.schedule import StepPlan, plan_steps
from pipeline.training.state import EpochSums, TrainState, restore, save_checkpoint, write_history
from pipeline.training.step import StepResult, train_step
from pipeline.training.validation import Validator, open_validator
from sharedris.build import build_model
from sharedris.encoder import ImageTextEncoder
from sharedris.errors import InputError
from sharedris.kernels import use_kernels

log = logging.getLogger(__name__)
_REMEMBERED_STEPS = 1000
_ASKED_EVERY_STEPS = 10
_RECENT_STEPS = 50


def train(job: Job, worker: Worker) -> TrainState:
    """Train to the last epoch and return the state, resuming from a checkpoint if there is one.

    Raises:
        InputError: too few samples for one step.
        NonFiniteLossError: named by step and samples.
        OSError: a checkpoint could not be written; the one before it is intact.
    """
    dataset = open_training_data(job)
    plan = plan_steps(job.config.train, len(dataset))
    if plan.steps_per_epoch == 0:  # known only now: combined sets leave out what another set holds out
        raise InputError(
            f"{len(dataset)} training samples do not fill one global batch of {job.config.train.global_batch_size}",
            "Lower --global-batch-size",
        )
    if worker.is_main_process:
        for name, counts in left_out(dataset).items():
            log.info("%s: left out of %s, held out elsewhere: %s", job.run_id, name, counts)
        for line in _emulations(job, worker):
            log.warning("%s: %s", job.run_id, line)
    state = start(job, worker)
    state.left_out = left_out(dataset)
    validator = open_validator(job, worker, state)
    progress, loader = job.progress_file, _open_loader(job, worker, dataset)
    with _last_write_finished(state):
        while state.epoch < plan.epochs:
            _run_epoch(job, worker, state, plan, loader, progress, validator)
            _finish_epoch(job, worker, state, plan)
            if validator is not None:  # before the checkpoint, so that a resumed run does not skip it
                validator.after_epoch(state)
            last = state.epoch == plan.epochs
            if last or state.epoch % job.execution.checkpoint_every_epochs == 0:
                save_checkpoint(job, worker, state)
    worker.barrier()  # the others evaluate what rank zero has written
    return state


@contextlib.contextmanager
def _last_write_finished(state: TrainState) -> Iterator[None]:
    """Wait at the end for the checkpoint that is being written; an error of training goes before one of the write."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            state.writer.finish()
        raise
    state.writer.finish()


def _emulations(job: Job, worker: Worker) -> list[str]:
    """Return a line for each kind of GPU that lacks the run's precision."""
    names = {name for name in worker.gpus if name is not None}
    if worker.device.type == "cuda":
        names.add(torch.cuda.get_device_name(worker.device))
    lines = (emulation_warning(name, job.config.train.precision) for name in sorted(names))
    return [line for line in lines if line is not None]


def left_out(dataset: Any) -> dict[str, dict[str, int]]:
    """Return set -> images, refs and expressions that combined training leaves out, being held out by some set."""
    return {
        removed.set: {"images": removed.images, "refs": removed.refs, "expressions": removed.expressions}
        for removed in getattr(dataset, "removed", ())
        if removed.expressions
    }


def open_training_data(job: Job) -> Any:
    """Return the map-style data set of the samples that an epoch of the run trains on."""
    encoder = job.config.model.encoder
    dataset: Any = training_dataset(
        job.execution.prepared_root,
        job.config.data.train_sets,
        image_size=encoder.image_size,
        text_tokens=encoder.text_tokens,
        horizontal_flip=job.config.data.horizontal_flip,
        seed=job.config.seed,
        tokenizer_path=job.own_tokenizer,
    )
    if job.config.data.sentences_per_epoch == "one_per_ref":
        dataset = OneSentencePerRef(dataset, job.config.seed)
    if job.config.train.damaged_samples == "replace":
        return ReplaceUnreadable(dataset, job.state_folder)
    return dataset


def start(job: Job, worker: Worker) -> TrainState:
    """Build the state of step 0, or the state of the newest checkpoint."""
    saved = load_checkpoint(job, worker)
    seed_everything(job.config.seed, rank=0)  # all ranks start from the same weights
    model: nn.Module = build_model(job.config.model)
    if saved is None:
        load_initial_weights(model, job)
    model.to(worker.device)
    use_kernels(model)
    model = with_batch_statistics(model, job.config.train, worker)
    trained = ModelWithLoss(model, job.config.train)
    _apply_execution_options(trained, job)
    state = TrainState(
        model=wrap_for_training(
            trained,
            worker,
            static_graph=job.per_rank_batch(worker.world_size).accumulation == 1,
            exchanged=job.config.train.gradient_exchange,
        ),
        optimizer=build_optimizer(model, job.config.optim),
        scaler=torch.amp.GradScaler(worker.device.type, enabled=job.config.train.precision == "fp16"),
    )
    seed_everything(job.config.seed, rank=worker.rank + 1)
    if saved is not None:
        restore(state, saved, worker, seed=job.config.seed)
    if worker.is_main_process:
        write_history(job, state)  # forgets epochs that no checkpoint holds
        if saved is not None:
            log.info("%s: resumed after epoch %d, step %d", job.run_id, state.epoch, state.step)
    return state


def _apply_execution_options(trained: ModelWithLoss, job: Job) -> None:
    if job.execution.activation_checkpointing:
        _checkpoint_activations(trained.model, job)
    if job.execution.compile:
        trained.compile(fullgraph=not leave_out_of_graphs(trained))


def _checkpoint_activations(model: nn.Module, job: Job) -> None:
    encoder = getattr(model, "encoder", None)
    if isinstance(encoder, ImageTextEncoder):
        encoder.activation_checkpointing = True
    else:
        log.warning("%s: --activation-checkpointing has no effect, the model has no encoder layers", job.run_id)


def _run_epoch(
    job: Job,
    worker: Worker,
    state: TrainState,
    plan: StepPlan,
    loader: TrainLoader,
    progress: ProgressFile,
    validator: Validator | None,
) -> None:
    state.model.train()
    share = job.per_rank_batch(worker.world_size)
    batches = _batches(job, worker, state, loader)
    unread = UnreadSteps(job.config.train, worker)
    while state.step_in_epoch < plan.steps_per_epoch:
        begun = time.perf_counter()
        micro_batches = [next(batches) for _ in range(share.accumulation)]
        waited = time.perf_counter() - begun
        set_learning_rate(state.optimizer, learning_rate_at(state.step, plan.steps, job.config.optim))
        result = train_step(
            state.model,
            state.optimizer,
            state.scaler,
            micro_batches,
            optim=job.config.optim,
            worker=worker,
            step=state.step,
            draws_seed=job.config.seed if job.config.train.draws == "sample" else None,
        )
        for reading in unread.add(result, read_now=_is_read_after(state, plan, job.execution)):
            state.sums.add(reading)
        state.step += 1
        state.step_in_epoch += 1
        _record_times(state, result, waited, time.perf_counter() - begun)
        if worker.is_main_process and progress.due("training", state.epoch + 1):
            progress.write(_progress_of(job, state, plan))
        if validator is not None and state.step_in_epoch < plan.steps_per_epoch:
            validator.after_step(state)
        is_due = _is_asked_to_save(job, worker, state.step) or _is_due(job.execution.checkpoint_every_steps, state.step)
        if is_due and state.step_in_epoch < plan.steps_per_epoch:  # at an epoch's end its own one is written
            save_checkpoint(job, worker, state)


def _is_read_after(state: TrainState, plan: StepPlan, execution: ExecutionConfig) -> bool:
    """Return whether history, checkpoint or validation follow the step just taken: they hold only what was read.

    The first step of an epoch is read too: the progress shows the mean loss of the epoch so far.
    """
    steps = execution.checkpoint_every_steps, execution.validate_every_steps, _ASKED_EVERY_STEPS
    ends = state.step_in_epoch in (0, plan.steps_per_epoch - 1)
    return ends or any(_is_due(every, state.step + 1) for every in steps)


def _is_due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def _is_asked_to_save(job: Job, worker: Worker, step: int) -> bool:
    """Return whether a checkpoint is asked for from outside; collective, at the same steps on all ranks."""
    if not _is_due(_ASKED_EVERY_STEPS, step):
        return False
    asked = worker.is_main_process and take_request(job.state_folder)
    return bool(worker.gather(asked)[0])


def _open_loader(job: Job, worker: Worker, dataset: Any) -> TrainLoader:
    return TrainLoader(
        dataset,
        batch_size=job.per_rank_batch(worker.world_size).micro_batch_size,
        rank=worker.rank,
        world_size=worker.world_size,
        seed=job.config.seed,
        workers=loader_processes(job.execution.loader_workers, worker.device),
        for_gpu=worker.device.type == "cuda",
        groups=step_groups(job.config.train),
    )


def _batches(job: Job, worker: Worker, state: TrainState, loader: TrainLoader) -> Iterator[Batch]:
    """Yield the rest of the epoch on the device; on a GPU the next batch is copied while it computes."""
    skipped = state.step_in_epoch * job.per_rank_batch(worker.world_size).accumulation
    return (batch for _, batch in prefetch(loader.epoch(state.epoch, skip_batches=skipped), worker.device))


def _record_times(state: TrainState, result: StepResult, waited: float, whole: float) -> None:
    state.sums.seconds += whole
    state.sums.data_seconds += waited
    state.step_seconds = [*state.step_seconds[-_REMEMBERED_STEPS:], whole]
    state.wait_seconds = [*state.wait_seconds[-_REMEMBERED_STEPS:], waited]
    for name in ("forward", "backward", "optimizer"):
        spent = state.phase_seconds.get(name, 0.0) + getattr(result, f"{name}_seconds")
        state.phase_seconds[name] = spent


def _progress_of(job: Job, state: TrainState, plan: StepPlan) -> Progress:
    recent = statistics.fmean(state.step_seconds[-_RECENT_STEPS:])
    return Progress(
        run_id=job.run_id,
        phase="training",
        epoch=state.epoch + 1,
        epochs=plan.epochs,
        step=state.step,
        steps=plan.steps,
        loss=float(state.sums.terms[0]) / max(1, state.sums.steps),
        samples_per_second=job.config.train.global_batch_size / recent,
        mfu=state.history[-1].get("mfu") if state.history else None,
        data_wait_ratio=statistics.fmean(state.wait_seconds[-_RECENT_STEPS:]) / recent,
    )


def _finish_epoch(job: Job, worker: Worker, state: TrainState, plan: StepPlan) -> None:
    """Add the epoch to the history: means over all workers, added in order of rank; skipped steps count in none.

    An epoch whose steps were all skipped has no means: null, not 0.
    """
    sums = state.sums
    counted = max(1, sums.steps)
    means = [value / worker.world_size for value in worker.sum((sums.terms / counted).tolist())]
    state.history.append(
        {
            "epoch": state.epoch + 1,
            "step": state.step,
            "samples": sums.steps * job.config.train.global_batch_size,
            "skipped_steps": sums.skipped_steps,
            **dict(zip(("loss", "bce", "dice"), means if sums.steps else [None] * 3, strict=True)),
            "gradient_norm": sums.gradient_norm / counted if sums.steps else None,
            "learning_rate": learning_rate_at(state.step - 1, plan.steps, job.config.optim),
            "world_size": worker.world_size,
            "micro_batch_size": job.per_rank_batch(worker.world_size).micro_batch_size,
            "seconds": sums.seconds,
            "data_seconds": sums.data_seconds,
            "mfu": _utilization(job, worker, sums) if worker.is_main_process else None,
        }
    )
    state.epoch += 1
    state.step_in_epoch = 0
    state.sums = EpochSums()


def _utilization(job: Job, worker: Worker, sums: EpochSums) -> float | None:
    return model_flops_utilization(
        gmacs=model_gmacs(job.config.model),
        samples_per_second=sums.steps * job.config.train.global_batch_size / sums.seconds if sums.seconds else None,
        workers=worker.world_size,
        device=worker.device,
        precision=job.config.train.precision,
        tf32=job.config.train.float32_products == "tf32",
    )
