"""The house rules: imports go one way, and each third party has its doors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "sharedris": set(),
    "pipeline": {"sharedris"},
    "sweeps": {"pipeline", "sharedris"},
    "reports": {"pipeline"},
}
DOORS = {
    "ray": {"pipeline/cluster/", "sweeps/run.py"},
    "mlflow": {"pipeline/monitoring/mlflow_tracker.py", "reports/publish.py"},
    "fvcore": {"pipeline/cost/flops.py"},
    "pycocotools": {"pipeline/data/", "pipeline/records.py"},
}
REPORTS_MAY_IMPORT_OF_PIPELINE = {"pipeline.files", "pipeline.monitoring.mlflow_uri", "pipeline.records"}
FOREIGN_TO_REPORTS = {"torch", "ray", "sharedris", "sweeps"}
OURS = set(MAY_IMPORT)


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, at its top and inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


FILES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


def test_there_are_files_of_every_package() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == OURS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way_and_third_parties_have_their_doors(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    package = place.split("/")[0]
    imported = imports_of(path)
    ours = {name.split(".")[0] for name in imported} & OURS - {package}
    assert ours <= MAY_IMPORT[package], f"{place} imports {ours - MAY_IMPORT[package]}"
    for library, doors in DOORS.items():
        if any(name.split(".")[0] == library for name in imported):
            assert any(place.startswith(door) for door in doors), f"{place} imports {library}; its doors: {doors}"
    if package == "reports":
        foreign = {name for name in imported if name.split(".")[0] in FOREIGN_TO_REPORTS}
        assert not foreign, f"{place} imports {foreign}"
        for name in imported:
            if name.split(".")[0] == "pipeline":
                allowed = any(name == door or name.startswith(f"{door}.") for door in REPORTS_MAY_IMPORT_OF_PIPELINE)
                assert allowed, f"{place} imports {name}"
