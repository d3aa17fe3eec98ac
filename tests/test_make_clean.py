"""`make clean` removes caches only; `make clean-runs` names what it would remove, and asks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the Makefile, caches, a run and a data set."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("runs/records/a.parquet", "runs/models/a/model", "data/prepared/s/x", "pipeline/__pycache__/m.pyc"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    for name in (".pytest_cache", ".mypy_cache", ".ruff_cache"):
        (tmp_path / name).mkdir()
    return tmp_path


def make(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words], cwd=clone, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_clean_removes_caches_and_neither_runs_nor_data(clone: Path) -> None:
    assert make(clone, "clean").returncode == 0
    assert {str(path.relative_to(clone)) for path in clone.rglob("*") if path.is_file()} == {
        "Makefile",
        "runs/records/a.parquet",
        "runs/models/a/model",
        "data/prepared/s/x",
    }
    assert not list(clone.glob(".*_cache"))


def test_clean_runs_refuses_without_a_question(clone: Path) -> None:
    ended = make(clone, "clean-runs")
    assert ended.returncode != 0
    assert "this removes runs: 1 records, 1 models" in ended.stdout
    assert "YES=1" in ended.stderr
    assert (clone / "runs/records/a.parquet").exists()


def test_clean_runs_removes_the_runs_and_no_data(clone: Path) -> None:
    (clone / "other runs").mkdir()
    assert make(clone, "clean-runs", "YES=1", "RUNS=other runs").returncode == 0
    assert not (clone / "other runs").exists()
    assert make(clone, "clean-runs", "YES=1").returncode == 0
    assert not (clone / "runs").exists()
    assert (clone / "data/prepared/s/x").exists()
    ended = make(clone, "clean-runs", "YES=1")
    assert ended.returncode == 0
    assert "does not exist" in ended.stdout
