"""Which node's GPU failed in a run: kept beside its checkpoints until the run ends or the user starts it again."""

from __future__ import annotations

from pathlib import Path

from pipeline.files import read_json, write_json


def write_device_fault(state_folder: Path, *, node_id: str, address: str, gpu: str, error: str) -> None:
    """Store that a GPU of a node failed."""
    values = {"node_id": node_id, "address": address, "gpu": gpu, "error": error}
    write_json(state_folder / f"device_fault-{node_id}.json", values)


def faulty_nodes(state_folder: Path) -> list[str]:
    """Return the ids of nodes whose GPU failed in this run."""
    read = [read_json(path) for path in sorted(state_folder.glob("device_fault-*.json"))]
    return [str(values["node_id"]) for values in read if isinstance(values, dict) and "node_id" in values]


def forget_device_faults(state_folder: Path) -> None:
    """Let all nodes be used again."""
    for path in state_folder.glob("device_fault-*.json"):
        path.unlink(missing_ok=True)
