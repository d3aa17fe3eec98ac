"""Hundreds of faults strike one run and one sweep: they end with the bits of the quiet ones (`make test-chaos`).

CHAOS_FAULTS    how many faults (200): seven tenths strike the run, the others the sweep
CHAOS_SEED      of their order and of what they leave open (0)
CHAOS_RESULTS   a Markdown file for the figures; the folder `.parts` beside it keeps those of each test
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config import RunConfig
from pipeline.files import read_json
from pipeline.object_store.address import working_folder
from pipeline.object_store.layout import OF_A_RUN
from pipeline.object_store.mirror import Mirror
from pipeline.object_store.objects import open_objects
from pipeline.object_store.pusher import PUSH_SECONDS
from pipeline.records import list_runs
from sharedris.config import to_dict
from tests.chaos.command import Command
from tests.chaos.disturb import HANGS_SECONDS, STALLS_SECONDS, Disturber, Reading
from tests.chaos.faults import Scene, small_disk
from tests.chaos.measured import Outcome, Results
from tests.chaos.schedule import KINDS_OF_A_RUN, KINDS_OF_A_SWEEP, faults
from tests.chaos.trace import Trace
from tests.integration import workers
from tests.integration.micro_sweep import plan_of
from tests.integration.object_server import BUCKET, proxy_of, s3_server
from tests.integration.object_server import Faults as ServerFaults
from tests.integration.object_server import environment as store_variables
from tests.integration.test_resume import train_arguments

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]
FAULTS, SEED = int(os.environ.get("CHAOS_FAULTS", "200")), int(os.environ.get("CHAOS_SEED", "0"))
ON_RUN = FAULTS * 7 // 10
STEPS_PER_EPOCH, EPOCHS_PER_FAULT, INTERVAL = 4, 1, 3
"""Steps: 24 samples in batches of 6, and a checkpoint every third step and at the end of each epoch."""
MOST_LOST = 2 * INTERVAL - 1
"""An interval, and what is trained while the newest checkpoint is still being written: the next one waits for it."""
CELLS, SWEEP_EPOCHS_PER_FAULT = 3, 2
_DISK_MIB = 96
RUN_ENDS, SWEEP_ENDS = (-9, 2, 3, 143), (-9, 2, 3, 143)
"""Exit codes: killed, disk full or store away, Ray or workers lost, SIGTERM."""


@pytest.fixture(scope="module")
def results() -> Results:
    """Where the tests of this file keep what they have measured."""
    path = os.environ.get("CHAOS_RESULTS")
    return Results(Path(path) if path else None, faults=FAULTS, seed=SEED)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for Ray's sockets."""
    path = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def environment(folder: Path) -> dict[str, str]:
    """The variables of a disturbed command: with the injected module, and a clock of its own."""
    left_out = (
        "RAY_",
        "MLFLOW_",
        "PYTHONDONTWRITEBYTECODE",
    )  # the last: each process would compile all that it imports
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    injected = str(Path(__file__).parent / "injected")
    return {**kept, "PYTHONPATH": injected, "CHAOS_FOLDER": str(folder)}


def read_run(runs: Path, trace: Trace) -> Reading:
    """What a run in a folder shows."""
    processes = set()
    for path in runs.glob("state/*/progress.json"):
        progress = read_json(path)
        if isinstance(progress, dict):
            processes.add(progress["process"])
    return Reading(processes=frozenset(processes), step=sum(trace.read().values()))


def run_words(toy_root: Path, runs: Path, epochs: int) -> list[str]:
    """A run of two workers under a private Ray."""
    arguments = [*train_arguments(toy_root, runs), "--workers", "2", "--epochs", str(epochs)]
    return [sys.executable, "-m", "pipeline.cli.main", *arguments]


def quiet_run(toy_root: Path, folder: Path, epochs: int) -> tuple[dict[str, Any], float]:
    """What the run leaves when nothing happens to it, and how long it takes."""
    command = Command(run_words(toy_root, folder / "runs", epochs), environment(folder), folder)
    began = time.monotonic()
    command.start()
    try:
        assert command.process.wait(3600) == 0, command.output[-5000:]
    finally:
        command.end()
    return workers.outcome_below(folder / "runs"), time.monotonic() - began


def trained_seconds(runs: Path) -> float:
    """Return the seconds of training in all histories of a folder, each epoch once."""
    return float(sum(pd.read_parquet(path)["seconds"].sum() for path in (runs / "history").glob("*.parquet")))


def starts_line(command: Command, scene: Scene, disturber: Disturber) -> str:
    """How often the command was given, and how often Ray did not get over calls that failed."""
    return (
        f"Starts of the command: {command.starts}. Shares of Ray's calls that failed after RPC faults: "
        f"{scene.rpc_percent} %; {disturber.hangs} of these starts did nothing for {HANGS_SECONDS:.0f} s, or "
        f"trained nothing for {STALLS_SECONDS:.0f} s, and were ended and given again."
    )


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    for part in ("history", "weights", "samples", "record"):
        assert got[part] == expected[part], part


def test_a_run_under_faults(toy_root: Path, folder: Path, tmp_path: Path, results: Results) -> None:
    epochs = EPOCHS_PER_FAULT * ON_RUN
    results.begin("run")
    quiet = folder / "q"
    quiet.mkdir()
    expected, quiet_seconds = quiet_run(toy_root, quiet, epochs)
    with small_disk(tmp_path / "disk", _DISK_MIB) as disk:
        runs = tmp_path / "disk" / "runs"
        left_out = () if disk else ("disk full",)  # only root may mount a small disk
        kinds = [kind for kind in KINDS_OF_A_RUN if kind not in left_out]
        command = Command(run_words(toy_root, runs, epochs), environment(folder), folder)
        trace = Trace(folder / "steps")
        scene = Scene(command=command, folder=folder, step=lambda: read_run(runs, trace).step, full_disk=disk)
        disturber = Disturber(
            scene,
            lambda: read_run(runs, trace),
            trace,
            lambda: bool(list_runs(runs)),
            may_end=RUN_ENDS,
            is_one_run=True,
            note=lambda struck: results.note("run", struck),
        )
        began = time.monotonic()
        try:
            disturber.run(faults(kinds, ON_RUN, steps=STEPS_PER_EPOCH * epochs, seed=SEED))
            wall = time.monotonic() - began
            assert_same(workers.outcome_below(runs), expected)
            useful = trained_seconds(runs)
        finally:
            command.end()
    losses = [steps for each in disturber.struck for steps in each.lost]
    outcome = Outcome(
        title="One run in a folder",
        struck=disturber.struck,
        wall_seconds=wall,
        useful_seconds=useful,
        quiet_seconds=quiet_seconds,
        quiet_useful_seconds=trained_seconds(quiet / "runs"),
        notes=[
            f"A checkpoint is due every {INTERVAL} steps, and written while training goes on: "
            f"{sum(steps > INTERVAL for steps in losses)} of {len(losses)} restarts cost more than an interval.",
            starts_line(command, scene, disturber),
            *(f"Not struck here: {kind}." for kind in left_out),
        ],
    )
    results.keep("run", outcome)
    assert outcome.most_lost <= MOST_LOST
    assert len(disturber.struck) >= 0.9 * ON_RUN


class SweepReadings:
    """What a sweep in a store shows in the working folders of this machine, without a question to the store.

    Args:
        cache: below which the driver and the workers have their folders.
        trace: of the steps of its cells.
    """

    def __init__(self, cache: Path, trace: Trace) -> None:
        self._cache, self._trace = cache, trace

    def done(self) -> int:
        """How many cells have a record."""
        return len(list(self._cache.glob("*/runs/records/*.parquet")))

    def read(self) -> Reading:
        """Steps of all cells."""
        processes = set()
        for path in self._cache.glob("*/workers/*/state/*/progress.json"):
            progress = read_json(path)
            if isinstance(progress, dict) and progress["phase"] in ("training", "evaluating"):
                processes.add(progress["process"])
        return Reading(processes=frozenset(processes), step=sum(self._trace.read().values()))


def test_a_sweep_in_a_store_under_faults(
    toy_root: Path, micro_run: RunConfig, folder: Path, tmp_path: Path, results: Results
) -> None:
    count = FAULTS - ON_RUN
    results.begin("sweep")
    config = replace(micro_run, train=replace(micro_run.train, epochs=SWEEP_EPOCHS_PER_FAULT * count))
    steps = STEPS_PER_EPOCH * config.train.epochs
    jobs = [cell.job for cell in plan_of(config, str(toy_root), str(tmp_path / "quiet")).cells[:CELLS]]
    began = time.monotonic()
    for job in jobs:
        assert job is not None
        assert workers.finish(workers.start(job), 3600) == [0]
    quiet_seconds = time.monotonic() - began
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    with s3_server(tmp_path) as port, proxy_of(port, server := ServerFaults()) as through:
        url, cache = f"s3://{BUCKET}/chaos", folder / "cache"
        words = [sys.executable, "-m", "tests.integration.micro_sweep", str(toy_root), url]
        variables = {**environment(folder), **store_variables(through, cache)}
        command = Command([*words, str(tmp_path / "config.json")], variables, folder)
        readings = SweepReadings(cache, trace := Trace(folder / "steps"))
        scene = Scene(command=command, folder=folder, step=lambda: readings.read().step, server=server)
        disturber = Disturber(
            scene,
            readings.read,
            trace,
            lambda: readings.done() == CELLS and not command.is_alive(),
            may_end=SWEEP_ENDS,
            is_one_run=False,
            note=lambda struck: results.note("sweep", struck),
        )
        began = time.monotonic()
        try:
            disturber.run(faults(KINDS_OF_A_SWEEP, count, steps=CELLS * steps, seed=SEED))
        finally:
            command.end()
        wall = time.monotonic() - began
        found = pull_all(url, port, tmp_path / "fresh")
    for job in jobs:
        assert job is not None
        assert_same(workers.outcome_below(found, job.run_id), workers.outcome(job))
    outcome = Outcome(
        title="One sweep of three cells in an S3 store",
        struck=disturber.struck,
        wall_seconds=wall,
        useful_seconds=trained_seconds(found),
        quiet_seconds=quiet_seconds,
        quiet_useful_seconds=trained_seconds(tmp_path / "quiet"),
        notes=[
            f"A checkpoint is due every {STEPS_PER_EPOCH} steps, a fraction of a second here; what changes is put into "
            f"the store every {PUSH_SECONDS:.0f} s, and a restart costs what had not been put yet.",
            starts_line(command, scene, disturber),
            f"{server.refused} of {server.requests} requests to the store were refused. The quiet cells ran one after "
            "the other without Ray; here two run at once, and wait where they are ahead of the next fault.",
        ],
    )
    results.keep("sweep", outcome)
    assert len(disturber.struck) >= 0.9 * count


def pull_all(url: str, port: int, cache: Path) -> Path:
    """What a host that has never seen the runs finds in the store."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store_variables(port, cache).items():
            patch.setenv(name, value)
        mirror = Mirror(working_folder(url), open_objects(url))
        mirror.pull(OF_A_RUN)
        return mirror.root
