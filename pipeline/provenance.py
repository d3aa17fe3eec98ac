"""Where a record comes from: commit, versions and hardware."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

COMMIT_VARIABLE = "SHAREDRIS_COMMIT"
"""Carries the commit to where the code has no .git: `ray job submit` packs none (docs/cluster.md)."""

_PACKAGES = ("torch", "ray", "mlflow", "numpy", "pandas", "pyarrow", "fvcore", "pycocotools", "sentencepiece", "pillow")


def collect() -> dict[str, Any]:
    """Return the provenance columns of a record, as the driver sees them."""
    commit, dirty = _git_state(Path(__file__).resolve().parent.parent)
    return {"git_commit": commit, "git_dirty": dirty, "versions_json": json.dumps(package_versions())}


def hardware(world_size: int, gpus: Iterable[str | None] = ()) -> dict[str, Any]:
    """Return what a run was done on, seen from rank zero.

    Args:
        world_size: number of workers.
        gpus: of all ranks; several kinds are joined by " + ".
    """
    kinds = sorted({name for name in (*gpus, gpu_name()) if name is not None})
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "logical_cpus": os.cpu_count(),
        "threads_per_worker": torch.get_num_threads(),
        "gpu": " + ".join(kinds) or None,
        "workers": world_size,
    }


def gpu_name() -> str | None:
    """Return the name of this process's GPU, or None."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result, as installed for this process."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _git_state(folder: Path) -> tuple[str, bool]:
    """Return the commit and whether tracked files differ from it; outside a checkout what the environment carries."""
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
        return _carried_commit()
    return head.stdout.strip(), bool(status.stdout.strip())


def _carried_commit() -> tuple[str, bool]:
    """Return what `git describe --always --abbrev=40 --dirty --exclude '*'` printed where the job was submitted."""
    found = re.fullmatch(r"([0-9a-f]{40})(-dirty)?", os.environ.get(COMMIT_VARIABLE, ""))
    return (found[1], found[2] is not None) if found else ("unknown", True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
