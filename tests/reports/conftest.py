"""Fixtures of the report tests: made-up runs of table VII(a), written once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import synthetic_runs


@pytest.fixture(scope="session")
def runs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with the four cells of table VII(a), two seeds each, and their costs. Nobody writes into it."""
    root = tmp_path_factory.mktemp("runs")
    synthetic_runs.write_runs(root, seeds=(0, 1))
    synthetic_runs.write_costs(root)
    return root
