"""Each change of Ray's internals: what breaks without it, and whether a new Ray still has what is changed.

The contract tests are quick and fail with a text that names the change. What breaks without a change needs real Ray
processes; that half is marked slow, since it tells something only when Ray or a change is new.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.progress_reporter import TrialProgressCallback
from ray.util import get_current_placement_group

from pipeline.cluster import launch, placement, ray_patches
from pipeline.cluster.network import interface_of
from pipeline.config import ExecutionConfig
from pipeline.config import RunConfig as OurRun
from pipeline.job import per_rank_batch_of
from sweeps.fan_out import NoTrialLines

WORKERS = 2


def require_same(change: str, found: Any, expected: Any) -> None:
    """Fail with the change's name where Ray's side of it is not what the change was written for."""
    assert found == expected, (
        f"Ray {ray.__version__} changed what pipeline/cluster/ray_patches.py overrides for {change}: "
        f"expected {expected}, found {found}. Read Ray's code, then adapt or remove the change."
    )


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_register_sigint_handler", ["self", "controller"]),
        ("_create_default_callbacks", ["self"]),
        ("_initialize_and_run_controller", ["self", "controller_init_kwargs"]),
    ],
)
def test_the_trainer_still_has_what_is_overridden(name: str, expected: list[str]) -> None:
    require_same(f"RunTrainer.{name}", parameters(getattr(TorchTrainer, name, None) or (lambda: None)), expected)


def test_the_backend_still_starts_as_it_is_overridden() -> None:
    backend = TorchConfig().backend_cls
    require_same("first contact", parameters(backend.on_start), ["self", "worker_group", "backend_config"])
    require_same("step_seconds", {"timeout_s", "backend", "init_method"} <= set(vars(TorchConfig())), True)


def test_the_trainer_still_calls_what_is_overridden() -> None:
    fit = inspect.getsource(TorchTrainer.fit) + inspect.getsource(TorchTrainer._initialize_and_run_controller)
    for call in ("scaling_policy=", "self._create_default_callbacks()", "self._register_sigint_handler("):
        require_same(f"RunTrainer ({call})", call in fit, True)


def test_the_elastic_policy_still_counts_workers_where_it_is_overridden() -> None:
    policy = ray_patches.ElasticScalingPolicy
    require_same("EvenWorkerCounts", parameters(policy._count_possible_workers), ["self", "reserved_resources"])
    for name in ("make_decision_for_non_running_worker_group", "make_decision_for_running_worker_group"):
        uses = "_count_possible_workers" in inspect.getsource(getattr(policy, name))
        require_same(f"EvenWorkerCounts ({name})", uses, True)


def test_the_backend_still_starts_where_it_is_overridden() -> None:
    backend = TorchConfig().backend_cls
    require_same("NodeInterfaceTorchConfig", parameters(backend.on_start), ["self", "worker_group", "backend_config"])
    assert issubclass(ray_patches.NodeInterfaceTorchConfig(timeout_s=7).backend_cls, backend)
    assert ray_patches.NodeInterfaceTorchConfig(timeout_s=7).timeout_s == 7


def test_tune_still_reports_where_it_is_overridden() -> None:
    for name in ("on_trial_result", "on_trial_error", "on_trial_complete"):
        require_same(f"NoTrialLines.{name}", hasattr(TrialProgressCallback, name), True)
        assert getattr(NoTrialLines, name) is not getattr(TrialProgressCallback, name)


def test_tune_forwards_no_secrets() -> None:
    from ray.tune.execution import class_cache

    uses = "ENV_VARS_TO_PROPAGATE" in inspect.getsource(class_cache._ActorClassCache.get)
    require_same("forward_no_secrets", uses, True)
    ray_patches.forward_no_secrets()
    forwarded = {*class_cache.ENV_VARS_TO_PROPAGATE, *class_cache.DEFAULT_ENV_VARS}
    secret = {name for name in forwarded if re.search("KEY|SECRET|TOKEN|PASSW|CREDENTIAL", name)}
    require_same("forward_no_secrets (names that Tune copies)", secret, set())


def trainer(kind: type[TorchTrainer] = ray_patches.RunTrainer, folder: Path | None = None, **scaling: Any) -> Any:
    """A trainer whose workers record their placement group and then wait."""
    own = {"batch_parts": 8} if kind is ray_patches.RunTrainer else {}
    return kind(
        wait,
        train_loop_config={"folder": folder},
        scaling_config=ScalingConfig(**{"num_workers": WORKERS, "resources_per_worker": {"CPU": 1}, **scaling}),
        run_config=RunConfig(name=f"wait-{time.time_ns()}", storage_path=str(folder)),
        **own,
    )


def wait(config: dict[str, Any]) -> None:
    """Record the placement group and wait to be killed."""
    assert get_current_placement_group() is not None
    placement.record_placement_group(config["folder"])
    time.sleep(600)


def test_ctrl_c_stays_with_python_where_ray_takes_it(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    trainer(folder=tmp_path)._register_sigint_handler(None)
    assert signal.getsignal(signal.SIGINT) is before
    try:
        trainer(TorchTrainer, folder=tmp_path)._register_sigint_handler(None)
        taken = signal.getsignal(signal.SIGINT) is not before
    finally:
        signal.signal(signal.SIGINT, before)
    require_same("RunTrainer._register_sigint_handler", taken, True)


def test_elastic_training_takes_a_number_of_workers_that_divides_the_batch(micro_run: OurRun) -> None:
    scaling = ScalingConfig(num_workers=(1, 8), resources_per_worker={"CPU": 1})
    ours, rays = ray_patches.EvenWorkerCounts(scaling, 112), ray_patches.ElasticScalingPolicy(scaling)
    nodes = {"one": {"CPU": 4.0}, "two": {"CPU": 2.0}}
    assert ours._count_possible_workers(nodes) == 4
    assert ours._count_possible_workers({"one": {"CPU": 7.0}}) == 7
    assert ours._count_possible_workers({"one": {"CPU": 20.0}}) == 8
    assert ours._count_possible_workers({}) == 0
    uneven = rays._count_possible_workers(nodes)
    assert uneven == 6, "Ray itself would start six workers"
    execution = ExecutionConfig(device="cpu", workers=8)
    batch = per_rank_batch_of(micro_run, execution, 4)
    assert batch.samples * 4 != micro_run.train.global_batch_size, "four workers do not share six samples"
    assert ray_patches.EvenWorkerCounts(scaling, 6)._count_possible_workers({"one": {"CPU": 4.0}}) == 3


def test_gloo_binds_to_the_interface_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, "")  # so that the patch below is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    ray_patches._bind_to_node_interface()
    assert os.environ["GLOO_SOCKET_IFNAME"] == os.environ["NCCL_SOCKET_IFNAME"] == "lo"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "chosen")
    ray_patches._bind_to_node_interface()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "chosen", "the user's choice stays"


def test_the_interface_of_an_address_is_found() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.7") is None


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A private Ray without a dashboard."""
    with launch.ray_cluster(cpus=WORKERS):
        yield


@ray.remote(num_cpus=0)
class Trial:
    """Fits a trainer as a trial of Tune does, in a process that is not the driver."""

    def fit(self, kind: type[TorchTrainer], folder: Path) -> None:
        trainer(kind, folder).fit()


def ray_processes() -> dict[int, str]:
    """Return the title of each Ray process below this one."""
    below = {process.pid: " ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)}
    return {pid: title for pid, title in below.items() if title.startswith("ray::")}


def kill_the_controller(kind: type[TorchTrainer], folder: Path) -> None:
    """Start a run and SIGKILL its controller once its workers train."""
    trial = Trial.remote()  # type: ignore[attr-defined]
    ended = trial.fit.remote(kind, folder)
    deadline = time.time() + 120
    while not (folder / "placement_group").exists() and time.time() < deadline:
        time.sleep(0.2)
    (controller,) = (pid for pid, title in ray_processes().items() if "TrainController" in title)
    os.kill(controller, signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(ended, timeout=60)
    ray.kill(trial)


def free_cpus(*, within: float) -> float:
    """Return how many CPUs are free, waiting so long for all of them."""
    deadline = time.time() + within
    while (free := ray.available_resources().get("CPU", 0.0)) < WORKERS and time.time() < deadline:
        time.sleep(0.5)
    return free


@pytest.mark.slow
def test_the_cpus_of_a_killed_controller_are_freed_and_no_process_stays(cluster: None, tmp_path: Path) -> None:
    kill_the_controller(ray_patches.RunTrainer, tmp_path)
    assert free_cpus(within=5) == 0, "Ray frees them itself now: pipeline/cluster/placement.py may go"
    assert placement.free_placement_group(tmp_path)
    assert free_cpus(within=30) == WORKERS, "the next run would wait without end"
    assert not placement.free_placement_group(tmp_path)
    assert not [title for title in ray_processes().values() if "PlacementGroupCleaner" in title]


@pytest.mark.slow
def test_without_our_callbacks_a_process_stays_in_the_cluster_and_frees_nothing(cluster: None, tmp_path: Path) -> None:
    kill_the_controller(TorchTrainer, tmp_path)
    time.sleep(20)
    stays = [title for title in ray_processes().values() if "PlacementGroupCleaner" in title]
    require_same("RunTrainer._create_default_callbacks (a cleaner that never ends)", bool(stays), True)
    require_same("RunTrainer._create_default_callbacks (frees nothing)", free_cpus(within=1), 0)
    assert placement.free_placement_group(tmp_path)
