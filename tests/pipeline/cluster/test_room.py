"""Which device, which nodes and how long: decided by what a cluster has and can have."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import ray

from pipeline.cluster import autoscaler, launch, nodes, room
from pipeline.cluster.autoscaler import resources_of
from pipeline.cluster.nodes import nodes_for, with_device, workers_that_fit
from pipeline.cluster.room import wait_for_room
from pipeline.config import ExecutionConfig
from sharedris.errors import InputError


class Cluster:
    """What Ray answers about a cluster; a node with GPUs comes up at the third question where one is asked for."""

    def __init__(self, *, most: float | None = None, starts: bool = False) -> None:
        self.most, self.starts, self.up, self.asked = most, starts, [self.node(CPU=16)], []
        self.questions = 0

    @staticmethod
    def node(labels: dict[str, str] | None = None, **resources: float) -> dict[str, Any]:
        named = {name.replace("type_", "type:"): amount for name, amount in resources.items()}
        return {"NodeID": str(len(named)), "Alive": True, "Resources": named, "Labels": labels or {}}

    def nodes(self) -> list[dict[str, Any]]:
        self.questions += 1
        if self.starts and any(self.asked) and self.questions > 3:
            return [*self.up, self.node(GPU=8, CPU=8)]
        return self.up


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster that is joined, with one node of 16 CPUs."""
    cluster = Cluster()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(ray, "nodes", cluster.nodes)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 16.0})
    monkeypatch.setattr(autoscaler, "possible", lambda resource: cluster.most)
    monkeypatch.setattr(autoscaler, "request_workers", lambda bundles, labels: cluster.asked.append(list(bundles)))
    monkeypatch.setattr(autoscaler, "is_launching", lambda: cluster.starts)
    monkeypatch.setattr(room, "_ANSWER_SECONDS", 0.02)
    return cluster


def wait(**options: Any) -> None:
    wait_for_room(ExecutionConfig(device="cuda", workers=8, **options), poll_seconds=0.01)


@pytest.mark.parametrize(
    ("most", "scale", "device"),
    [(8, "tiny", "cuda"), (0, "tiny", "cpu"), (None, "tiny", "cpu"), (None, "base", "cuda")],
)
def test_auto_is_decided_by_what_the_cluster_can_have(
    most: float | None, scale: str, device: str, joined: Cluster
) -> None:
    joined.most = most
    assert with_device(ExecutionConfig(), [scale]).device == device
    assert with_device(ExecutionConfig(device="cpu"), [scale]).device == "cpu"


def test_a_base_model_goes_to_cpus_on_this_machine(joined: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS")
    assert with_device(ExecutionConfig(), ["base"]).device == "cpu"


@pytest.mark.parametrize("most", [8, None], ids=["known to be possible", "that starts a node"])
def test_an_autoscaler_is_asked_and_waited_for(
    most: float | None, joined: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    joined.most, joined.starts = most, True
    wait()
    assert joined.asked == [[{"GPU": 1.0}] * 8, []], "asked once, and withdrawn"
    assert caplog.messages[0].startswith("waiting for 8 GPU, 0 up, since ")
    assert launch.capacity(ExecutionConfig(device="cuda", workers=8)).trials == 1


def test_nobody_starts_nodes(joined: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    wait()
    assert joined.asked[-1] == []
    with pytest.raises(InputError, match="0 GPU / 8 per run = 0 at once.*--wait-for-resources MINUTES.*--device cpu"):
        launch.capacity(ExecutionConfig(device="cuda", workers=8))
    with pytest.raises(InputError, match="8 GPU were not there within 0.0005 minutes: 0 are up"):
        wait(wait_for_resources=0.0005)
    joined.most = 4
    with pytest.raises(InputError, match="may start nodes up to 4 GPU, and a run needs 8.*to 4 or less"):
        wait()


def test_nodes_are_chosen_by_kind_and_label(joined: Cluster) -> None:
    joined.up = [
        joined.node({"pool": "lab"}, GPU=4, accelerator_type_A100=1),
        joined.node({"pool": "lab", "zone": "b"}, GPU=2, accelerator_type_V100=1),
        {**joined.node(GPU=8), "Alive": False},
        joined.node(CPU=16),
    ]
    execution = ExecutionConfig(device="cuda", accelerator_type="A100", node_labels=(("pool", "lab"),))
    assert [node["Resources"]["GPU"] for node in nodes_for(execution)] == [4]
    assert workers_that_fit(ExecutionConfig(device="cuda", node_labels=(("pool", "lab"),))) == 6
    assert workers_that_fit(ExecutionConfig(device="cuda", node_labels=(("zone", "b"),))) == 2
    assert workers_that_fit(ExecutionConfig(device="cpu")) == 16


def test_what_is_waited_for_in_words(joined: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = ExecutionConfig(device="cuda", workers=8, accelerator_type="A100", node_labels=(("pool", "lab"),))
    assert nodes.describe_wait(execution) == "Ray"
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "available_resources", lambda: {"GPU": 4.0})
    joined.up = [joined.node({"pool": "lab"}, GPU=8, accelerator_type_A100=1)]
    assert nodes.describe_wait(execution) == "8 GPU A100 pool=lab, 4 free of 8 that are up"


def test_the_maximum_of_a_launchers_file() -> None:
    kinds = {
        "head": {"resources": {"CPU": 16}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 8, "GPU": 4}, "max_workers": 3},
        "all": {"resources": {"GPU": 1}},
    }
    config = {"available_node_types": kinds, "head_node_type": "head", "max_workers": 2}
    assert resources_of(config) == {"CPU": 16 + 2 * 8, "GPU": 2 * 4 + 2}
