"""Checks that every node sees the same files, or the same store, before hours are spent."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster.versions import version_mismatch
from pipeline.object_store.address import origin_of
from pipeline.object_store.objects import open_objects
from pipeline.provenance import package_versions
from sharedris.errors import InputError

NODE_ANSWERS_SECONDS = 120
"""How long a node may take to start a process and look at its files."""


def check_shared_storage(root: Path, reads: Sequence[str], *, nodes: Sequence[dict[str, Any]] | None = None) -> None:
    """Check that every node reads what the driver writes below `root`, and the driver what a node writes.

    All nodes are asked at once, and for their versions too. Where runs live in an
    object store no folder is shared: each node then asks the store with its own credentials.

    Args:
        root: of the runs.
        reads: files that workers only read (prepared sets, weights): shared, or a copy on each node. URIs are skipped.
        nodes: that may hold workers; all that are up if None.

    Raises:
        InputError: naming the nodes that do not see the files, and those that do not answer.
    """
    root.mkdir(parents=True, exist_ok=True)
    nodes = list(_alive().values()) if nodes is None else nodes
    if all(node["NodeID"] == ray.get_runtime_context().get_node_id() for node in nodes):
        return
    nonce = uuid.uuid4().hex
    path = root / f".nonce-{nonce[:8]}"
    path.write_text(nonce)
    url = origin_of(root)
    answer = ray.remote(num_cpus=0)(_answer_nonce if url is None else _ask_store)
    local = [name for name in reads if "://" not in name]
    problems: dict[str, str] = {}
    versions = package_versions()
    try:
        asked = [
            answer.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                *((str(path), nonce, node["NodeID"]) if url is None else (url,)), local, versions
            )
            for node in nodes
        ]
        deadline = time.monotonic() + NODE_ANSWERS_SECONDS
        for node, pending in zip(nodes, asked, strict=True):
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            reply = path.with_name(f"{path.name}-{node['NodeID']}")
            try:
                problem = ray.get(pending, timeout=max(1.0, deadline - time.monotonic()))
                if url is None and problem is None and not reply.exists():
                    problem = "what it writes does not appear on the driver"
            except (RayError, TimeoutError) as error:
                # Ray lists a dead node until it has noticed the loss.
                problem = f"does not answer ({type(error).__name__})" if node["NodeID"] in _alive() else None
            reply.unlink(missing_ok=True)
            if problem is not None:
                problems[name] = problem
    finally:
        path.unlink(missing_ok=True)
    if problems:
        _refuse(problems, root, url)


def _refuse(problems: Mapping[str, str], root: Path, url: str | None) -> NoReturn:
    """Raise an error that names the nodes and what each lacks."""
    named = "; ".join(f"{name}: {text}" for name, text in problems.items())
    if url is not None:
        raise InputError(
            "not every node can work: " + named,
            f"Give each node credentials for {url} (set them before ray start), and keep prepared sets and weights at "
            "the same path on each node; see docs/cluster.md",
        )
    raise InputError(
        "not every node sees the same files with the same versions: " + named,
        f"Set RUNS= (--runs, now {root}) to a folder that all nodes mount and may write, and keep prepared sets "
        "and weights at the same path on each node, with the driver's environment; see docs/cluster.md",
    )


def _alive() -> dict[str, dict[str, Any]]:
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _answer_nonce(
    path: str, nonce: str, node: str, reads: Sequence[str], versions: Mapping[str, str] = MappingProxyType({})
) -> str | None:
    """Read the driver's nonce and write it back; return what went wrong, or None. Runs on each node."""
    mismatch = version_mismatch(versions, package_versions()) if versions else None
    if mismatch is not None:
        return f"has {mismatch}"
    if (missing := _missing(reads)) is not None:
        return missing
    try:
        if Path(path).read_text() != nonce:
            return "reads another file at this path"
        Path(f"{path}-{node}").write_text(nonce)
    except OSError as error:
        return f"{error.strerror}: {path}"
    return None


def _ask_store(url: str, reads: Sequence[str], versions: Mapping[str, str]) -> str | None:
    """Ask the store of the runs for one page; return what went wrong, or None. Runs on each node."""
    mismatch = version_mismatch(versions, package_versions())
    if mismatch is not None:
        return f"has {mismatch}"
    try:
        open_objects(url).require_usable()
    except InputError as error:
        return error.message
    return _missing(reads)


def _missing(reads: Sequence[str]) -> str | None:
    return next((f"has no {name}" for name in reads if not Path(name).exists()), None)
