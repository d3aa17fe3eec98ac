"""Whether a node has the packages of the driver: another torch computes other bits, or fails hours later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_COMPARED = ("torch", "ray", "numpy")


def version_mismatch(driver: Mapping[str, Any], node: Mapping[str, Any]) -> str | None:
    """Return what a node has in another version than the driver, in words, or None.

    Builds of one version (`2.13.0+cpu`, `2.13.0+cu130`) fit together: a head without a GPU may have the other one.
    """
    names = [name for name in _COMPARED if name in driver and _release(driver[name]) != _release(node.get(name))]
    found = [f"{name} {node.get(name)} where the driver has {driver[name]}" for name in names]
    python = [".".join(str(each.get("python")).split(".")[:2]) for each in (driver, node)]
    if "python" in driver and python[0] != python[1]:
        found.append(f"Python {python[1]} where the driver has {python[0]}")
    return "; ".join(found) or None


def driver_versions(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions in what `pipeline.provenance.collect` returned on the driver."""
    versions: dict[str, Any] = json.loads(provenance.get("versions_json", "{}"))
    return versions


def _release(version: Any) -> str:
    return str(version).partition("+")[0]
