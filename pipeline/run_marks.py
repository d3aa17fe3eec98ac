"""What a user notes about a run: tags, and whether it is archived.

    RUNS/marks/RUN.json     {"archived": false, "tags": ["smoke"]}

A run without the file has neither. An archived run keeps all its files and is left out of lists and tables.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.files import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The notes about one run; tags are sorted."""

    archived: bool = False
    tags: tuple[str, ...] = ()


def marks_path(root: Path, run_id: str) -> Path:
    """Return where the notes about a run lie."""
    return Path(root) / "marks" / f"{run_id}.json"


def read_marks(root: Path, run_id: str) -> Marks:
    """Return the notes about a run; a damaged file counts as none."""
    values = read_json(marks_path(root, run_id))
    if not isinstance(values, dict):
        return Marks()
    tags = values.get("tags")
    texts = sorted({tag for tag in tags if isinstance(tag, str)}) if isinstance(tags, list) else []
    return Marks(archived=values.get("archived") is True, tags=tuple(texts))


def write_marks(root: Path, run_id: str, marks: Marks) -> None:
    """Write the notes about a run; remove the file where there is nothing to note."""
    if marks == Marks():
        marks_path(root, run_id).unlink(missing_ok=True)
    else:
        write_json(marks_path(root, run_id), asdict(marks))


def archived_runs(root: Path) -> set[str]:
    """Return the ids of all archived runs."""
    noted = (path.stem for path in (Path(root) / "marks").glob("*.json"))
    return {run_id for run_id in noted if read_marks(root, run_id).archived}
