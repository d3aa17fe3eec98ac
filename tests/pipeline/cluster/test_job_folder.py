"""Runs are not written into the package of a job, which Ray deletes, and a job's records name the commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline import provenance
from pipeline.cli.main import main as sharedris
from pipeline.cluster.job_folder import refuse_package_folder
from sweeps.__main__ import main as sweeps

PACKAGE = "ray/session_2026-01-01/runtime_resources/working_dir_files/_ray_pkg_0123"


@pytest.mark.parametrize("command", ["sweeps", "train"])
def test_runs_in_the_package_are_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / PACKAGE
    package.mkdir(parents=True)
    monkeypatch.chdir(package)
    assert (sweeps(["run", "fpn"]) if command == "sweeps" else sharedris(["train"])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--runs runs is inside the job's package" in line
    assert "--runs /shared/runs" in line
    assert not list(package.iterdir())


@pytest.mark.parametrize(
    ("runs", "has_environment", "line"),
    [
        ("runs", True, "RUNS=runs is inside the job's package, which Ray deletes"),
        ("/shared/runs", False, "sharedris is not on the job's PATH: activate its environment"),
        ("/shared/runs", True, ""),
        ("s3://lab/runs", True, ""),
    ],
)
def test_make_in_a_package_takes_the_environment_of_the_job(
    runs: str, has_environment: bool, line: str, tmp_path: Path
) -> None:
    package, bin_folder = tmp_path / PACKAGE, tmp_path / "bin"
    package.mkdir(parents=True)
    bin_folder.mkdir()
    shutil.copy(Path(__file__).resolve().parents[3] / "Makefile", package)
    if has_environment:
        (bin_folder / "sharedris").write_text("#!/bin/sh\n")
        (bin_folder / "sharedris").chmod(0o755)
    ended = subprocess.run(
        ["make", "in-job", f"RUNS={runs}"],
        cwd=package,
        env={"PATH": f"{bin_folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode != 0) == bool(line)
    assert line in ended.stderr
    assert sorted(path.name for path in package.iterdir()) == ["Makefile"]


def test_other_folders_are_taken(tmp_path: Path) -> None:
    refuse_package_folder(tmp_path / "runtime_resources" / "runs")


@pytest.mark.parametrize(
    ("carried", "expected"),
    [
        ("a" * 40, ("a" * 40, False)),
        (f"{'a' * 40}-dirty", ("a" * 40, True)),
        ("main", ("unknown", True)),
        (None, ("unknown", True)),
    ],
)
def test_the_commit_is_carried_to_where_no_git_is(
    carried: str | None, expected: tuple[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv(provenance.COMMIT_VARIABLE, raising=False)
    if carried is not None:
        monkeypatch.setenv(provenance.COMMIT_VARIABLE, carried)
    assert provenance._git_state(tmp_path) == expected
