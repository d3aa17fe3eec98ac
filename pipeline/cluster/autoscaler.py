"""What the autoscaler of a joined cluster may start, and how it is asked. Only this file calls Ray's autoscaler.

Ray tells a driver the maximum of a cluster only where the platform reports it. The autoscaler of `ray up` and
`ray start --autoscaling-config` runs on the head, and its file names the node types. KubeRay's is not visible: there
the answer to a request shows whether nodes come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray._private import ray_constants
from ray._private.state import state
from ray.autoscaler.sdk import request_resources
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.experimental.internal_kv import _internal_kv_get

from pipeline.cluster.network import interface_of

_FILE_OPTION = "--autoscaling-config="


def possible(resource: str) -> float | None:
    """Return how much of a resource the cluster can have with all nodes that may start; None where this is unknown."""
    most: Mapping[str, float] | None = state.get_max_resources_from_cluster_config() or _configured()
    if most is None:
        return None
    return max(most.get(resource, 0.0), ray.cluster_resources().get(resource, 0.0))


def request_workers(bundles: Sequence[Mapping[str, float]], labels: Mapping[str, str]) -> None:
    """Ask for room for these bundles at once, on nodes with these labels; no bundles withdraw the request."""
    selectors = [dict(labels) for _ in bundles] if labels else None
    request_resources(bundles=[dict(bundle) for bundle in bundles], bundle_label_selectors=selectors)


def is_launching() -> bool:
    """Return whether nodes are being started."""
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    if status.pending_launches or status.pending_nodes:
        return True
    report = _legacy_report()
    return bool(report.get("pending_launches") or report.get("pending_nodes"))


def _legacy_report() -> Mapping[str, Any]:
    """Return what the first autoscaler reports; the second reports through the cluster status."""
    text = _internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS)
    report = json.loads(text).get("autoscaler_report") if text else None
    return report or {}


def _configured() -> dict[str, float] | None:
    """Return the maximum of each resource by the file of the autoscaler that runs on this host for this cluster."""
    path = _file_of_monitor(ray.get_runtime_context().gcs_address)
    if path is None:
        return None
    try:
        config = yaml.safe_load(path.read_text())
        return resources_of(config)
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
        return None  # another user's, or of a form that we do not know: then it is asked


def resources_of(config: Mapping[str, Any]) -> dict[str, float]:
    """Return the maximum of each resource by the node types of a launcher's file."""
    at_most: dict[str, float] = {}
    limit = config.get("max_workers", 0)
    for name, kind in config["available_node_types"].items():
        count = 1 if name == config.get("head_node_type") else min(kind.get("max_workers", limit), limit or 0)
        for resource, amount in kind.get("resources", {}).items():
            at_most[resource] = at_most.get(resource, 0.0) + count * float(amount)
    return at_most


def _file_of_monitor(gcs_address: str) -> Path | None:
    """Return the file of the cluster's autoscaler where it runs on this host; the head may have several addresses."""
    host, _, port = gcs_address.rpartition(":")
    if interface_of(host) is None:
        return None
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if not any(word.startswith("--gcs-address=") and word.endswith(f":{port}") for word in command):
            continue
        named = next((word.removeprefix(_FILE_OPTION) for word in command if word.startswith(_FILE_OPTION)), "")
        if named:
            return Path(named).expanduser()
    return None
