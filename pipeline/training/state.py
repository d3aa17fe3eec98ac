"""All that the next training step depends on, and how it is kept in a checkpoint and taken from one."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from pipeline.distributed.process_group import Worker, random_state, restore_random_state, seed_everything
from pipeline.job import Job
from pipeline.records import HISTORY_SCHEMA, history_path, write_table
from pipeline.same_training import write_training
from pipeline.training import checkpoints
from pipeline.training.background_writer import BackgroundWriter
from pipeline.training.model_with_loss import unwrap
from pipeline.training.readings import StepReading

_COUNTERS = ("epoch", "step_in_epoch", "step", "history", "seconds", "started")


@dataclass(kw_only=True)
class EpochSums:
    """Sums over the steps of the unfinished epoch, as this worker has seen them; skipped steps add to their count."""

    terms: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))  # loss, BCE, Dice
    gradient_norm: float = 0.0
    steps: int = 0
    skipped_steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, reading: StepReading) -> None:
        """Add one step."""
        if reading.skipped:
            self.skipped_steps += 1
            return
        self.terms = self.terms + reading.terms.double()
        self.gradient_norm += reading.gradient_norm
        self.steps += 1


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
    best: dict[str, Any] | None = None  # epoch, step and score of the selected weights; rank zero has the weights too
    # Of this session only:
    writer: BackgroundWriter = field(default_factory=BackgroundWriter)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)  # set -> counts that other sets hold out
    session_started: float = field(default_factory=time.perf_counter)
    step_seconds: list[float] = field(default_factory=list)
    wait_seconds: list[float] = field(default_factory=list)
    phase_seconds: dict[str, float] = field(default_factory=dict)


def save_checkpoint(job: Job, worker: Worker, state: TrainState) -> None:
    """Start to write a checkpoint and the history up to it; collective: it holds every rank's generators and sums.

    Rank zero copies the state to memory of the host and goes on; `state.writer.finish()` waits for the file.

    Raises:
        OSError: of the checkpoint before, disk full or read-only; the one before that is intact.
    """
    ranks = worker.gather({"random": random_state(worker.device), "sums": vars(state.sums)})
    now = time.perf_counter()
    state.seconds += now - state.session_started
    state.session_started = now
    if worker.is_main_process:
        state.writer.finish()  # before the copy: two copies of a large model may not fit
        values = {
            "content_hash": job.content_hash,
            "model": unwrap(state.model).state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "scaler": state.scaler.state_dict(),
            "ranks": ranks,
            **{name: getattr(state, name) for name in _COUNTERS},
        }
        copied = _copied(values)
        if state.best is not None:
            copied["best"] = state.best  # replaced as a whole, never changed: needs no copy
        state.writer.give(lambda: _write(job, copied))


def _write(job: Job, values: dict[str, Any]) -> None:
    """Write a checkpoint, then the history, which holds no epoch that no checkpoint holds."""
    write_training(job.state_folder, job.config, job.data_fingerprint, job.content_hash)
    checkpoints.save(job.state_folder, values, epoch=values["epoch"], step=values["step"])
    write_rows(job, values["history"])


def _copied(value: Any) -> Any:
    """Return a copy in memory of the host that the next steps do not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        copied = copy.copy(value)  # with the versions of modules, which a state dict has as an attribute
        copied.update((key, _copied(each)) for key, each in value.items())
        return copied
    if isinstance(value, list | tuple):
        return type(value)(_copied(each) for each in value)
    return value


def restore(state: TrainState, saved: dict[str, Any], worker: Worker, *, seed: int) -> None:
    """Put a checkpoint into a fresh state.

    With another number of workers than wrote it the optimisation goes on from the same weights, but the generators
    start anew from the seed and the step: the bits of the drop-path masks differ.
    """
    unwrap(state.model).load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.scaler.load_state_dict(saved["scaler"])
    for name in _COUNTERS:
        setattr(state, name, saved[name])
    state.best = saved.get("best")
    if state.best is not None and not worker.is_main_process:
        state.best = {**state.best, "model": None}  # rank zero sends the weights when training has ended
    ranks = saved["ranks"]
    if len(ranks) == worker.world_size:
        own = ranks[worker.rank]
        restore_random_state(own["random"], worker.device)
        state.sums = EpochSums(**own["sums"])
    else:
        seed_everything(seed, rank=worker.rank + 1, step=state.step)
        # Means over the old workers stand for what each of the new ones would have seen.
        terms = torch.stack([rank["sums"]["terms"] for rank in ranks]).mean(0)
        state.sums = EpochSums(**{**ranks[0]["sums"], "terms": terms})


def write_history(job: Job, state: TrainState) -> None:
    """Write the rows of all finished epochs that a checkpoint holds, each once; later ones are forgotten."""
    write_rows(job, state.history)


def write_rows(job: Job, rows: list[dict[str, Any]]) -> None:
    """Write the history of a run, a row an epoch; without rows there is no file."""
    path = history_path(job.runs_root, job.run_id)
    if rows:
        # A checkpoint of an earlier version has rows without a column that the history has got since.
        table = pd.DataFrame(rows).reindex(columns=HISTORY_SCHEMA.names[1:])
        write_table(path, table, HISTORY_SCHEMA)
    else:
        path.unlink(missing_ok=True)
