"""Fixtures of the report tests: made-up runs of table VII(a), written once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import synthetic_runs

from reports.__main__ import main


@pytest.fixture(scope="session")
def runs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with the four cells of table VII(a), two seeds each, and their costs. Nobody writes into it."""
    root = tmp_path_factory.mktemp("runs")
    synthetic_runs.write_runs(root, seeds=(0, 1))
    synthetic_runs.write_costs(root)
    return root


@pytest.fixture(scope="session")
def whole_report(runs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the whole report of those runs, with plots as PDF. Nobody writes into it."""
    out = tmp_path_factory.mktemp("whole")
    assert main(["all", "--pdf", "--runs", str(runs_root), "--out", str(out), "--prepared", str(out)]) == 0
    return out
