"""Workers of a run as processes of our own, without Ray: quick to start, and ours to kill.

They are forked from a server that has imported everything already, so that a start costs a tenth of a second.
"""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import uuid
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist

from pipeline.distributed.process_group import Worker
from pipeline.job import Job
from pipeline.monitoring.console_log import own_handler
from pipeline.records import history_path, list_runs, record_path, samples_path
from pipeline.run import run_job

TIMES = ["seconds", "started", "seconds_per_step", "peak_memory_mib"]
TIMES += ["train_samples_per_second", "evaluate_samples_per_second", "mfu", "worker_hours"]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "tests.integration.workers",
        "torch._dynamo",
        "pipeline.cli.train",
        "pipeline.cluster.launch",
        "pipeline.monitoring.mlflow_tracker",
    ]
)


def start(job: Job, world_size: int = 1, *, kill_at_file_event: int | None = None) -> list[BaseProcess]:
    """Start the workers of a run; with `kill_at_file_event` the leader kills itself at that write or rename."""
    meeting = str(job.state_folder.parent / f"meeting-{uuid.uuid4().hex}")
    job.state_folder.mkdir(parents=True, exist_ok=True)
    return _start(_work, [(job, rank, world_size, meeting, kill_at_file_event) for rank in range(world_size)])


def start_command(arguments: Sequence[str], output: Path) -> BaseProcess:
    """Start `sharedris ARGUMENTS` with its output in a file."""
    return _start(_command, [(list(arguments), str(output))])[0]


def finish(processes: Sequence[BaseProcess], seconds: float = 120) -> list[int | None]:
    """Wait for processes and return their exit codes; kill what does not end."""
    for process in processes:
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def kill(processes: Sequence[BaseProcess]) -> bool:
    """SIGKILL all; return whether the first of them was still at work."""
    alive = processes[0].is_alive()
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    return alive


def call(world_size: int, function: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """Return what `function(worker, *arguments)` returns on each of `world_size` workers."""
    meeting, name = str(folder / f"meeting-{uuid.uuid4().hex}"), uuid.uuid4().hex
    processes = _start(
        _call,
        [
            (function, rank, world_size, meeting, str(folder / f"{name}-{rank}"), arguments)
            for rank in range(world_size)
        ],
    )
    assert finish(processes) == [0] * world_size
    return [pickle.loads((folder / f"{name}-{rank}").read_bytes()) for rank in range(world_size)]


def outcome(job: Job) -> dict[str, Any]:
    """Return all that a finished run left, but for times, in a form that compares bit for bit."""
    return outcome_below(job.runs_root, job.run_id)


def outcome_below(root: Path, run_id: str | None = None) -> dict[str, Any]:
    """Return the same of a run, or of the only one, below a folder."""
    run_id = list_runs(root)[0] if run_id is None else run_id
    record = pd.read_parquet(record_path(root, run_id)).drop(columns=TIMES)
    history = pd.read_parquet(history_path(root, run_id)).drop(columns=["seconds", "data_seconds", "mfu"])
    samples = [pd.read_parquet(samples_path(root, run_id, split)) for split in sorted(set(record["split"]))]
    return {
        "weights": (root / "models" / run_id / "model.safetensors").read_bytes(),
        "record": _exact(record),
        "history": _exact(history),
        "samples": [_exact(rows) for rows in samples],
    }


def outcome_of_command(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """Give a command whose runs are below a folder, and return what it leaves when nothing happens to it."""
    process = start_command(arguments, folder / "output")
    assert finish([process], 600) == [0], (folder / "output").read_text()
    return outcome_below(folder / "runs")


def _exact(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows with floats as their bits."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return value.hex()
        return value.tolist() if isinstance(value, np.ndarray) else value

    return [{name: plain(value) for name, value in row.items()} for row in rows.to_dict("records")]


def _start(target: Callable[..., Any], argument_lists: Sequence[tuple[Any, ...]]) -> list[BaseProcess]:
    processes: list[BaseProcess] = [
        _CONTEXT.Process(target=target, args=arguments, daemon=True) for arguments in argument_lists
    ]
    for process in processes:
        process.start()
    return processes


def _worker(rank: int, world_size: int, meeting: str) -> Worker:
    torch.set_num_threads(1)
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world_size)
    return Worker(rank=rank, world_size=world_size)


def _work(job: Job, rank: int, world_size: int, meeting: str, kill_at_file_event: int | None) -> None:
    sys.stderr = (job.state_folder / f"stderr-{rank}").open("w")
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # may have loaders,
    multiprocessing.set_start_method("fork", force=True)  # started as those of the command are
    if kill_at_file_event is not None and rank == 0:
        _kill_self_at(kill_at_file_event)
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    try:
        with own_handler(handler, logging.INFO):
            run_job(job, _worker(rank, world_size, meeting))
    finally:
        (job.state_folder / f"log-{rank}.json").write_text(json.dumps(lines))


def _command(arguments: list[str], output: str) -> None:
    from pipeline.cli.main import main

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as on a terminal, if pytest runs in the background
    with Path(output).open("a", buffering=1) as stream:
        sys.stdout = sys.stderr = stream
        sys.exit(main(arguments))


def _call(
    function: Callable[..., Any], rank: int, world_size: int, meeting: str, output: str, arguments: tuple[Any, ...]
) -> None:
    Path(output).write_bytes(pickle.dumps(function(_worker(rank, world_size, meeting), *arguments)))


def _kill_self_at(event: int) -> None:
    """Die at the n-th of: half of a checkpoint is written, a file is flushed, a file is put in its place.

    Progress files are not counted: how often they are written depends on the clock.
    """
    count = 0

    def note() -> None:
        nonlocal count
        count += 1
        if count == event:
            os.kill(os.getpid(), signal.SIGKILL)

    fsync, replace, save = os.fsync, Path.replace, torch.save

    def counted_fsync(number: int) -> None:
        if "progress" not in Path(f"/proc/self/fd/{number}").readlink().name:
            note()
        fsync(number)

    def counted_replace(self: Path, target: Any) -> Path:
        if "progress" not in self.name:
            note()
        return replace(self, target)

    def counted_save(values: Any, stream: Any, **options: Any) -> None:
        file = getattr(stream, "stream", None)  # of a checkpoint, which is hashed on its way
        if not isinstance(file, io.BufferedWriter):  # what is sent between workers
            save(values, stream, **options)
            return
        whole = io.BytesIO()
        save(values, whole, **options)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        note()
        file.seek(0)
        file.truncate()
        save(values, stream, **options)

    os.fsync, Path.replace, torch.save = counted_fsync, counted_replace, counted_save  # type: ignore[assignment]
