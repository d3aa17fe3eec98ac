"""The training of one run: epochs, steps, checkpoints. The same code under Ray Train and in the driver's own process.

A run that was interrupted goes on from its newest whole checkpoint and ends with the same bits: the state of every
rank's generators, the position in the epoch and the sums of the unfinished epoch are part of the checkpoint.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import batch_norm, checkpoints
from pipeline.data.dataset import training_dataset
from pipeline.data.loader import Batch, train_loader
from pipeline.distributed import (
    Worker,
    random_state,
    restore_random_state,
    seed_everything,
    unwrap,
    wrap_for_training,
)
from pipeline.initial import load_initial_weights
from pipeline.job import Job
from pipeline.optim import build_optimizer, learning_rate_at, set_learning_rate
from pipeline.progress import Progress, ProgressFile
from pipeline.records import HISTORY_SCHEMA, history_path, write_table
from pipeline.train_step import StepResult, train_step
from sharedris.model import build_model

Say = Callable[[str], None]
_REMEMBERED_STEPS = 1000


@dataclass(kw_only=True)
class EpochSums:
    """Sums over the samples that this worker has seen in the unfinished epoch."""

    terms: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))  # loss, BCE, Dice
    gradient_norm: float = 0.0
    steps: int = 0
    skipped_steps: int = 0

    def add(self, result: StepResult) -> None:
        """Add one step; `terms` stay on the device until the epoch ends."""
        self.terms = self.terms.to(result.terms.device) + result.terms.double()
        self.gradient_norm += result.gradient_norm
        self.steps += 1
        self.skipped_steps += int(result.skipped)


@dataclass(kw_only=True)
class TrainState:
    """All that the next step depends on, and what has been seen so far."""

    model: nn.Module  # wrapped for training
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0  # finished epochs
    step_in_epoch: int = 0
    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0  # of all sessions, up to the newest checkpoint
    started: float = field(default_factory=time.time)
    # Of this session only:
    session_started: float = field(default_factory=time.perf_counter)
    epoch_started: float = field(default_factory=time.perf_counter)
    data_seconds: float = 0.0
    step_seconds: list[float] = field(default_factory=list)
    wait_seconds: list[float] = field(default_factory=list)
    phase_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many samples, steps and epochs a run has; follows from the job and the data alone."""

    samples_per_epoch: int
    steps_per_epoch: int
    epochs: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.epochs


def make_plan(job: Job, training_samples: int) -> Plan:
    """Return the plan; an epoch drops the samples that do not fill a global batch."""
    train = job.config.train
    if train.max_samples_per_epoch is not None:
        training_samples = min(training_samples, train.max_samples_per_epoch)
    steps = training_samples // train.global_batch_size
    return Plan(samples_per_epoch=steps * train.global_batch_size, steps_per_epoch=steps, epochs=train.epochs)


def train(job: Job, worker: Worker, say: Say = print) -> TrainState:
    """Train to the last epoch and return the state, resuming from a checkpoint if there is one.

    Raises:
        NonFiniteLossError: named by step and samples.
        OSError: a checkpoint could not be written; the one before it is intact.
    """
    dataset = open_training_data(job)
    plan = make_plan(job, len(dataset))
    state = start(job, worker, say)
    progress = ProgressFile(job.state_folder)
    while state.epoch < plan.epochs:
        _run_epoch(job, worker, state, plan, dataset, progress)
        _finish_epoch(job, worker, state, plan)
        last = state.epoch == plan.epochs
        if last or state.epoch % job.execution.checkpoint_every_epochs == 0:
            save_checkpoint(job, worker, state)
    return state


def open_training_data(job: Job) -> Any:
    """Return the map-style data set of all training samples of the run."""
    encoder = job.config.model.encoder
    return training_dataset(
        job.execution.prepared_root,
        job.config.data.train_sets,
        image_size=encoder.image_size,
        text_tokens=encoder.text_tokens,
        horizontal_flip=job.config.data.horizontal_flip,
        seed=job.config.seed,
    )


def start(job: Job, worker: Worker, say: Say = print) -> TrainState:
    """Build the state of step 0, or the state of the newest checkpoint."""
    saved = None
    if worker.leads:
        saved = checkpoints.load_newest(job.state_folder, content_hash=job.content_hash, say=say)
    # Every rank reads for itself: the leader's choice is what they must agree on, not the bytes.
    chosen = worker.gather(None if saved is None else (saved["epoch"], saved["step_in_epoch"]))[0]
    if chosen is not None and not worker.leads:
        saved = checkpoints.load_newest(job.state_folder, content_hash=job.content_hash, say=lambda _: None)
    seed_everything(job.config.seed, rank=0)  # all ranks start from the same weights
    model: nn.Module = build_model(job.config.model)
    if saved is None:
        load_initial_weights(model, job, say=say if worker.leads else lambda _: None)
    model.to(worker.device)
    if job.config.train.synchronize_batch_norm:
        model = batch_norm.synchronize(model, worker)
    _apply_execution_options(model, job)
    state = TrainState(
        model=wrap_for_training(model, worker),
        optimizer=build_optimizer(model, job.config.optim),
        scaler=torch.amp.GradScaler(worker.device.type, enabled=job.config.train.precision == "fp16"),
    )
    seed_everything(job.config.seed, rank=worker.rank + 1)
    if saved is not None:
        _restore(state, saved, worker)
        if worker.leads:
            _write_history(job, state)
            say(f"{job.run_id}: resumed after epoch {state.epoch}, step {state.step}")
    return state


def _apply_execution_options(model: nn.Module, job: Job) -> None:
    if job.execution.activation_checkpointing:
        model.encoder.activation_checkpointing = True  # type: ignore[union-attr]
    if job.execution.compile:
        model.compile()


def _restore(state: TrainState, saved: dict[str, Any], worker: Worker) -> None:
    unwrap(state.model).load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.scaler.load_state_dict(saved["scaler"])
    for name in ("epoch", "step_in_epoch", "step", "history", "seconds", "started"):
        setattr(state, name, saved[name])
    ranks = saved["ranks"]
    if len(ranks) == worker.world:
        own = ranks[worker.rank]
        restore_random_state(own["random"], worker.device)
        state.sums = EpochSums(**own["sums"])
    elif worker.leads:
        # Another number of workers: the sums are whole on the leader, the generators start anew from the seed.
        terms = torch.stack([rank["sums"]["terms"] for rank in ranks]).mean(0) * worker.world
        state.sums = EpochSums(**{**ranks[0]["sums"], "terms": terms})


def save_checkpoint(job: Job, worker: Worker, state: TrainState) -> None:
    """Write a checkpoint; collective, since it holds the generators and sums of every rank."""
    sums = {**vars(state.sums), "terms": state.sums.terms.cpu()}
    ranks = worker.gather({"random": random_state(worker.device), "sums": sums})
    now = time.perf_counter()
    state.seconds += now - state.session_started
    state.session_started = now
    if worker.leads:
        values = {
            "content_hash": job.content_hash,
            "model": unwrap(state.model).state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "scaler": state.scaler.state_dict(),
            "ranks": ranks,
            **{
                name: getattr(state, name)
                for name in ("epoch", "step_in_epoch", "step", "history", "seconds", "started")
            },
        }
        checkpoints.save(job.state_folder, values, epoch=state.epoch, step=state.step)
        _write_history(job, state)
    worker.barrier()


def _run_epoch(job: Job, worker: Worker, state: TrainState, plan: Plan, dataset: Any, progress: ProgressFile) -> None:
    state.model.train()
    state.epoch_started, state.data_seconds = time.perf_counter(), 0.0
    batches = _batches(job, worker, state, plan, dataset)
    every = job.execution.checkpoint_every_steps
    while state.step_in_epoch < plan.steps_per_epoch:
        begun = time.perf_counter()
        micro_batches = [next(batches) for _ in range(job.accumulation)]
        waited = time.perf_counter() - begun
        set_learning_rate(state.optimizer, learning_rate_at(state.step, plan.steps, job.config.optim))
        result = train_step(
            state.model,
            state.optimizer,
            state.scaler,
            micro_batches,
            train=job.config.train,
            optim=job.config.optim,
            worker=worker,
            step=state.step,
        )
        state.sums.add(result)
        state.step += 1
        state.step_in_epoch += 1
        _note_times(state, result, waited, time.perf_counter() - begun)
        if worker.leads:
            progress.write(_reading(job, state, plan))
        if every and state.step % every == 0 and state.step_in_epoch < plan.steps_per_epoch:
            save_checkpoint(job, worker, state)


def _batches(job: Job, worker: Worker, state: TrainState, plan: Plan, dataset: Any) -> Iterator[Batch]:
    dataset.set_epoch(state.epoch)
    loader = train_loader(
        dataset,
        batch_size=job.micro_batch_size,
        rank=worker.rank,
        world=worker.world,
        seed=job.config.seed,
        epoch=state.epoch,
        workers=job.execution.loader_workers,
        pin_memory=worker.device.type == "cuda",
        skip_batches=state.step_in_epoch * job.accumulation,
    )
    for batch in loader:
        yield batch.to(worker.device, non_blocking=True)


def _note_times(state: TrainState, result: StepResult, waited: float, whole: float) -> None:
    state.data_seconds += waited
    state.step_seconds = [*state.step_seconds[-_REMEMBERED_STEPS:], whole]
    state.wait_seconds = [*state.wait_seconds[-_REMEMBERED_STEPS:], waited]
    for name in ("forward", "backward", "optimizer"):
        spent = state.phase_seconds.get(name, 0.0) + getattr(result, f"{name}_seconds")
        state.phase_seconds[name] = spent


def _reading(job: Job, state: TrainState, plan: Plan) -> Progress:
    recent = statistics.fmean(state.step_seconds[-50:])
    return Progress(
        run_id=job.run_id,
        phase="training",
        epoch=state.epoch + 1,
        epochs=plan.epochs,
        step=state.step,
        steps=plan.steps,
        loss=float(state.sums.terms[0]) / max(1, state.sums.steps),
        samples_per_second=job.config.train.global_batch_size / recent,
    )


def _finish_epoch(job: Job, worker: Worker, state: TrainState, plan: Plan) -> None:
    """Add the epoch to the history: means over all workers, added in order of rank."""
    means = [value / worker.world for value in worker.sum((state.sums.terms / state.sums.steps).tolist())]
    now = time.perf_counter()
    state.history.append(
        {
            "epoch": state.epoch + 1,
            "step": state.step,
            "samples": state.sums.steps * job.config.train.global_batch_size,
            "skipped_steps": state.sums.skipped_steps,
            "loss": means[0],
            "bce": means[1],
            "dice": means[2],
            "gradient_norm": state.sums.gradient_norm / state.sums.steps,
            "learning_rate": learning_rate_at(state.step - 1, plan.steps, job.config.optim),
            "world_size": worker.world,
            "seconds": now - state.epoch_started,
            "data_seconds": state.data_seconds,
        }
    )
    state.epoch += 1
    state.step_in_epoch = 0
    state.sums = EpochSums()


def _write_history(job: Job, state: TrainState) -> None:
    import pandas as pd

    if state.history:
        write_table(history_path(job.runs_root, job.run_id), pd.DataFrame(state.history), HISTORY_SCHEMA)
