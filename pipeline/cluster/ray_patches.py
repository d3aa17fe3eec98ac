"""Ray Train's internals that we change, and why. Everything here is of ray 2.60 and pinned to it.

Each class is exercised by real processes in `tests/integration/test_ray.py`, so that another version shows at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ray
from ray.runtime_context import RuntimeContext
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _TorchBackend
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2._internal.execution.failure_handling.default import DefaultFailurePolicy
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup

from pipeline.cluster.network import interface_of
from pipeline.failures import RunError
from pipeline.job import Job


class RunTrainer(TorchTrainer):
    """TorchTrainer that does not retry what would fail again, and whose Ctrl-C is Python's. Internal of ray 2.60.

    It leaves out the actors that we have no use for, each a process whose start takes seconds: Ray Data's manager
    serves data sets that we do not pass; the placement-group cleaner needs the dashboard (`free_placement_group`); and
    the controller runs in the process that calls `fit`, a driver or a trial of Tune, which does nothing else meanwhile.
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused = (DatasetsCallback, PlacementGroupCleanerCallback)
        with warnings.catch_warnings():  # Ray Data copies its own context and warns of its own deprecated fields
            warnings.simplefilter("ignore", DeprecationWarning)
            callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, unused)]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        job: Job = self.train_loop_config["job"]
        parts["failure_policy"] = RetryWhileProgress(self.run_config.failure_config, str(job.state_folder))
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = EvenWorkerCounts(self.scaling_config, job.config.train.global_batch_size)
        controller = InProcessController(**parts)
        asyncio.run(controller.run())
        return controller.get_result()

    def _register_sigint_handler(self, controller: Any) -> None:
        """Leave Ctrl-C alone: Ray's handler makes `fit` return as if the run had ended."""


class InProcessWorkerGroup(WorkerGroup):
    """A worker group that a driver may start, which is no actor.

    The workers are told of their controller only for `get_all_reported_checkpoints`, and ours report none to Ray.
    """

    def _init_train_context_on_workers(self, *parts: Any) -> None:
        with patch.object(RuntimeContext, "current_actor", None):
            super()._init_train_context_on_workers(*parts)


class InProcessController(TrainController):
    """A controller that is a plain object of the process that calls `fit`."""

    worker_group_cls = InProcessWorkerGroup


def _in_one_line(record: logging.LogRecord) -> bool:
    """Shorten what the controller logs with a page of trace and tries again, as where a worker finds no room yet."""
    passing, text = "Error in control loop iteration: ", record.getMessage()
    if text.startswith(passing):
        record.msg, record.args = f"Ray Train: {text.removeprefix(passing).split('. ')[0].splitlines()[0]}", ()
        record.exc_info = record.exc_text = None
    return True


logging.getLogger(TrainController.__module__).addFilter(_in_one_line)


class RetryWhileProgress(DefaultFailurePolicy):
    """Replaces lost workers as long as checkpoints advance between losses; a `RunError` ends the run at once."""

    def __init__(self, failure_config: FailureConfig, state_folder: str) -> None:
        super().__init__(failure_config)
        self._folder, self._newest = Path(state_folder), ""

    def make_decision(self, training_failed_error: Any) -> FailureDecision:
        """Return whether the worker group is started again."""
        if (self._folder / "failure.json").exists() or _would_fail_again(training_failed_error):
            return FailureDecision.RAISE
        newest = max((path.name for path in self._folder.glob("checkpoint-*.json")), default="")
        if newest > self._newest:
            self._worker_group_failures = 0
        self._newest = newest
        return super().make_decision(training_failed_error)


def _would_fail_again(error: Any) -> bool:
    """Whether a worker said so; on a full or read-only disk the exception is all that it can leave."""
    failures = getattr(error, "worker_failures", {}).values()
    return any(isinstance(getattr(failure, "_base_exc", failure), RunError) for failure in failures)


class EvenWorkerCounts(ElasticScalingPolicy):
    """Starts as many workers as there is room for and as share the global batch evenly."""

    def __init__(self, scaling_config: ScalingConfig, global_batch_size: int) -> None:
        super().__init__(scaling_config)
        self._global_batch_size = global_batch_size

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        room = super()._count_possible_workers(reserved_resources)
        return next((count for count in range(room, 0, -1) if self._global_batch_size % count == 0), 0)


class RecordPlacementGroup(WorkerGroupCallback):
    """Writes down the placement group of a worker group, so that it can be freed when its controller is gone.

    Ray's own cleaner needs the dashboard and fails beside a second Ray on the host (ray#54305, ray#65443); then a
    stopped trial keeps its CPUs and the next one waits for ever. Internal interface of ray 2.60.
    """

    def __init__(self, state_folder: str) -> None:
        self._path = Path(state_folder) / "placement_group"

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Note the id; called on the controller."""
        group = worker_group._worker_group_state.placement_group_handle.placement_group
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(group.id.hex())

    def after_worker_group_shutdown(self, worker_group_context: Any) -> None:
        """Forget the id: Ray has freed the group itself."""
        self._path.unlink(missing_ok=True)


@dataclass
class NodeInterfaceTorchConfig(TorchConfig):
    """TorchConfig whose gloo binds to the interface of the node's own Ray address."""

    @property
    def backend_cls(self) -> type:
        """The backend that sets the interface before the process group forms."""
        return _NodeTorchBackend


class _NodeTorchBackend(_TorchBackend):
    """Where a hostname resolves to 127.0.0.1 gloo binds to it and two hosts never meet (`connectFullMesh failed`)."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(_bind_gloo)
        super().on_start(worker_group, backend_config)


def _bind_gloo() -> None:
    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
