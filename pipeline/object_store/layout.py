"""Which files of a runs folder are kept in an object store, of which run each is, and in which order they are put.

A kill between two puts leaves a state to resume from: what names other files is put after them. A checkpoint counts
from its manifest on, and a run from its record on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SMALL = ("records", "marks", "history", "validation", "costs", "state", "sweeps")
"""Kinds that every command reads."""
OF_A_RUN = (
    "records",
    "marks",
    "history",
    "validation",
    "state",
    "checkpoints",
    "samples",
    "thresholds",
    "attention",
    "models",
)
LARGE = ("checkpoints", "samples", "thresholds", "attention", "models")
LEASE = "driver.json"
"""The lock of a driver, and its heartbeat file in a working folder."""
SAVE_REQUEST = "save-now"
"""A request for a checkpoint, which is not mirrored but put and taken (`pipeline.object_store.save_request`)."""
_SINGLE = ("records", "marks", "history", "validation")
_FOLDERS = ("state", "samples", "thresholds", "attention", "models")
_LOCKS = ("driver.lock", "leader.lock", "lease.json", "writer.json", "open-in-mlflow", SAVE_REQUEST)
"""What only one machine needs, or is written by a lock itself."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The kind of a file and the run that it belongs to; None for costs and sweeps."""

    kind: str
    run_id: str | None


def place_of(key: str) -> Place | None:
    """Return what a key below the prefix is; None for what is not brought or put."""
    parts = PurePosixPath(key).parts
    name = parts[-1]
    if len(parts) < 2 or name.startswith((".", "marker-")) or name in _LOCKS:
        return None
    if parts[0] in _SINGLE and len(parts) == 2:
        return Place(kind=parts[0], run_id=name.rpartition(".")[0])
    if parts[0] in _FOLDERS and len(parts) > 2 and not parts[1].startswith("."):
        is_checkpoint = parts[0] == "state" and name.endswith(".pt")
        return Place(kind="checkpoints" if is_checkpoint else parts[0], run_id=parts[1])
    if parts[0] in ("costs", "sweeps"):
        return Place(kind=parts[0], run_id=None)
    return None


def prefixes_of(kinds: tuple[str, ...]) -> list[str]:
    """Return the folders that hold files of these kinds."""
    return sorted({"state" if kind == "checkpoints" else kind for kind in kinds})


def single_keys(run_id: str, kinds: tuple[str, ...]) -> list[str]:
    """Return the keys of a run's files that lie in folders with those of other runs."""
    return [f"{kind}/{run_id}.{'json' if kind == 'marks' else 'parquet'}" for kind in _SINGLE if kind in kinds]


def folders_of(run_id: str, kinds: tuple[str, ...]) -> list[str]:
    """Return the folders of a run."""
    return [f"{folder}/{run_id}" for folder in prefixes_of(kinds) if folder in _FOLDERS]


def files_to_put(root: Path, run_id: str) -> list[str]:
    """Return the keys of a run's files in the order in which they are put.

    They are looked for in the opposite order: a file that appears meanwhile is then never put before what it names.
    """
    found: list[str] = []
    for group in reversed(_groups(root, run_id)):
        found = [*sorted(_keys(root, group)), *found]
    return list(dict.fromkeys(found))


def other_files(root: Path) -> list[str]:
    """Return the keys of the files that belong to no run, and of marks, which are written without a lock."""
    return sorted(_keys(root, [*_below(root / "costs"), *_below(root / "marks")]))


def _groups(root: Path, run_id: str) -> list[Iterator[Path]]:
    """Return the files of a run in groups, a later group naming files of earlier ones."""
    state = root / "state" / run_id
    return [
        state.glob("*.pt"),
        (path for path in state.glob("*") if not path.name.endswith(".pt")),
        (root / key for key in single_keys(run_id, ("history", "validation", "marks"))),
        (path for kind in ("samples", "thresholds", "models", "attention") for path in _below(root / kind / run_id)),
        iter([root / "records" / f"{run_id}.parquet"]),
    ]


def _below(folder: Path) -> Iterator[Path]:
    return folder.rglob("*")


def _keys(root: Path, paths: Iterator[Path] | list[Path]) -> Iterator[str]:
    for path in paths:
        key = path.relative_to(root).as_posix()
        if path.name != LEASE and path.is_file() and place_of(key) is not None:
            yield key
