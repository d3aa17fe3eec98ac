"""What Ray is told when a cluster is joined."""

from __future__ import annotations

from pathlib import Path

from pipeline.cluster.launch import code_of_workers


def test_the_packages_that_ray_ships_are_there() -> None:
    folders = [Path(folder) for folder in code_of_workers()]
    assert {folder.name for folder in folders} >= {"sharedris", "pipeline", "sweeps"}
    assert all((folder / "__init__.py").is_file() for folder in folders)
