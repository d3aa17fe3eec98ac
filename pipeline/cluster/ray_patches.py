"""What this project changes of Ray Train's internals (ray 2.60), and why.

| change                                | without it                                              | Ray issue |
|---------------------------------------|---------------------------------------------------------|-----------|
| `RunTrainer._register_sigint_handler` | Ctrl-C ends the command with exit code 0, as if done    | ray#53600 |
| `RunTrainer._create_default_callbacks` | a killed controller leaves a process in the cluster    | ray#61689 |
| `EvenWorkerCounts`                    | an elastic run trains on a smaller global batch         | none      |
| `forward_no_secrets`                  | Ray's log shows AWS_SECRET_ACCESS_KEY to every user     | none      |
| `NodeInterfaceTorchConfig`            | gloo binds to 127.0.0.1 and two hosts never connect;    | ray#37461 |
|                                       | two hosts that cannot connect wait for 15 minutes       |           |

A change stays as long as a test shows that something breaks without it. `tests/integration/test_ray_patches.py` has
these tests. It also fails with a clear text when a new Ray renames or changes what is overridden here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.train import ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy

from pipeline.cluster.first_contact import (
    FIRST_CONTACT_SECONDS,
    check_first_all_reduce,
    chosen_interfaces,
    no_contact,
)
from pipeline.cluster.network import interface_of
from pipeline.failures import innermost


def forward_no_secrets() -> None:
    """Keep Tune from copying the driver's AWS credentials into its trials: Ray logs what it copies, world-readable.

    A trial trains nothing itself. Workers on any node have the environment of their own node, as without Tune.
    """
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
        {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    )


class RunTrainer(TorchTrainer):
    """TorchTrainer that leaves Ctrl-C to Python, starts no detached process and shares the global batch evenly.

    Args:
        batch_parts: that the workers of a step share, each as many.
        options: those of `TorchTrainer`.
    """

    def __init__(self, *args: Any, batch_parts: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self._batch_parts = batch_parts

    def _register_sigint_handler(self, controller: Any) -> None:
        """Install no handler: Ray's own calls `sys.exit(0)`, so that an interrupted run looks like a finished one."""

    def _create_default_callbacks(self) -> list[Any]:
        """Leave out Ray's cleaner of placement groups: without a dashboard it frees nothing and never ends.

        `pipeline.cluster.placement` frees the placement group of a controller that died.
        """
        return [
            callback
            for callback in super()._create_default_callbacks()
            if not isinstance(callback, PlacementGroupCleanerCallback)
        ]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = EvenWorkerCounts(self.scaling_config, self._batch_parts)
        return super()._initialize_and_run_controller(**parts)


class EvenWorkerCounts(ElasticScalingPolicy):
    """Starts the largest number of workers that fits the cluster and divides the parts of a global batch."""

    def __init__(self, scaling_config: ScalingConfig, batch_parts: int) -> None:
        super().__init__(scaling_config)
        self._batch_parts = batch_parts

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        room = super()._count_possible_workers(reserved_resources)
        return next((count for count in range(room, 0, -1) if self._batch_parts % count == 0), 0)


@dataclass
class NodeInterfaceTorchConfig(TorchConfig):
    """TorchConfig whose gloo and NCCL bind to the interface of the node's own Ray address.

    Attributes:
        timeout_s: within which the workers have to connect.
        step_seconds: limit of every later collective.
    """

    timeout_s: int = FIRST_CONTACT_SECONDS
    step_seconds: float = 900.0

    @property
    def backend_cls(self) -> type:
        """The backend that sets the interface before the process group forms."""
        return _NodeTorchBackend


class _NodeTorchBackend(TorchConfig().backend_cls):  # type: ignore[misc]  # Ray has no public name for its base
    """Sets the interface: gloo binds to the address of the host name, which often resolves to 127.0.0.1."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        places = worker_group.execute(_bind_to_node_interface)
        try:
            super().on_start(worker_group, backend_config)
            worker_group.execute(_make_first_contact, places, backend_config.step_seconds)
        except RayTaskError as error:
            if len(places) < 2 or "FirstContactError: " in str(error):
                raise
            raise no_contact(places, f"the process group did not form: {innermost(error)}") from None


def _make_first_contact(places: list[str], step_seconds: float) -> None:
    """Run the first all-reduce on this worker."""
    check_first_all_reduce(places, get_device(), step_seconds)


def _bind_to_node_interface() -> str:
    """Choose the interface, and return address and interface; torch is imported here, before the limit counts."""
    address = ray.util.get_node_ip_address()
    name = interface_of(address)
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
    return f"{address} ({chosen_interfaces()})"
