"""Where a record comes from: commit, versions and hardware."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "ray", "mlflow", "numpy", "pandas", "pyarrow", "fvcore", "pycocotools", "sentencepiece", "pillow")


def collect() -> dict[str, Any]:
    """Return the provenance columns of a record, as the driver sees them."""
    commit, dirty = _git_state(Path(__file__).resolve().parent.parent)
    return {"git_commit": commit, "git_dirty": dirty, "versions_json": json.dumps(_versions())}


def hardware(world_size: int) -> dict[str, Any]:
    """Return what this worker runs on; called on rank 0, where the work is done."""
    cuda = torch.cuda.is_available()
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "logical_cpus": os.cpu_count(),
        "threads_per_worker": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "workers": world_size,
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _git_state(folder: Path) -> tuple[str, bool]:
    """Return the commit and whether tracked files differ from it; ("unknown", True) outside a checkout."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown", True
    return head.stdout.strip(), bool(status.stdout.strip())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
