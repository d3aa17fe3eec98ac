"""Runs jobs as trials of Ray Tune, each of which fits one Ray Train run; frees what a trial leaves behind."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search.basic_variant import BasicVariantGenerator

from pipeline.cluster import train_run
from pipeline.cluster.nodes import workers_that_fit
from pipeline.cluster.placement import free_placement_group
from pipeline.cluster.ray_patches import forward_no_secrets
from pipeline.config import ExecutionConfig
from pipeline.failures import RunError
from pipeline.job import Job

_NODE_PREFIX = "node:"
_HEAD_RESOURCE = "node:__internal_head__"
_NODE_SHARE = 0.001
_COUNT_SECONDS = 5.0


def fan_out(jobs: Sequence[Job], *, name: str, at_once: int) -> None:
    """Fit every job, `at_once` at a time at first, and as many as fit when nodes join later.

    A trial takes a small part of the driver's node and no CPU: one that holds a CPU while its trainer waits for CPUs
    never ends. There it finds the runs' files and the driver's lease, also where a job's driver is not on the head.
    """
    storage = jobs[0].runs_root / "ray"
    name = f"{name}-{uuid.uuid4().hex[:8]}"
    by_run = {job.run_id: job for job in jobs}
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    forward_no_secrets()
    search = BasicVariantGenerator(max_concurrent=at_once)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, jobs=by_run), {_resource_of_this_node(): _NODE_SHARE}),
        param_space={"run_id": tune.grid_search([job.run_id for job in jobs])},
        tune_config=tune.TuneConfig(
            search_alg=search,
            reuse_actors=True,
            trial_dirname_creator=_directory_of,
            trial_name_creator=_directory_of,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            verbose=0,
            callbacks=[
                FreePlacementGroups({run_id: str(job.state_folder) for run_id, job in by_run.items()}),
                NoTrialLines(),
                FollowNodes(search, jobs[0].execution),
            ],
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)


def _resource_of_this_node() -> str:
    """Return the resource that Ray gives the driver's node only: its address."""
    here = ray.get_runtime_context().get_node_id()
    (resources,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    return next(name for name in resources if name.startswith(_NODE_PREFIX) and name != _HEAD_RESOURCE)


def _trial(config: Mapping[str, str], jobs: Mapping[str, Job]) -> None:
    """Fit one job; the cause of a failure is in the run's own files."""
    job = jobs[config["run_id"]]
    with contextlib.suppress(RunError):
        train_run.fit(job)
    # Without a last report Tune counts a trial as broken whose run an earlier driver's workers finished.
    tune.report({"done": float(job.done)})


def _directory_of(trial: Any) -> str:
    return str(trial.config["run_id"])


class NoTrialLines(TrialProgressCallback):
    """Replaces Tune's own lines, which it prints even at verbose=0; the run monitor prints ours."""

    def on_trial_result(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing."""

    on_trial_error = on_trial_complete = on_trial_result


class FollowNodes(Callback):
    """Lets more trials run at once when nodes have joined, and starts fewer when nodes have left."""

    def __init__(self, search: BasicVariantGenerator, execution: ExecutionConfig) -> None:
        self._search, self._execution, self._due = search, execution, 0.0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Count again, every few seconds; Tune reads the limit before each new trial."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _COUNT_SECONDS
            per_run = self._execution.min_workers or self._execution.workers
            self._search.max_concurrent = max(1, workers_that_fit(self._execution) // per_run)


class FreePlacementGroups(Callback):
    """Frees what a trial's worker group held when the trial has ended, whatever ended it."""

    def __init__(self, state_folders: Mapping[str, str]) -> None:
        self._state_folders = dict(state_folders)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Free after a trial that ended by itself."""
        self._free(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Free after a trial that broke."""
        self._free(trial)

    def _free(self, trial: Any) -> None:
        free_placement_group(Path(self._state_folders[trial.config["run_id"]]))
