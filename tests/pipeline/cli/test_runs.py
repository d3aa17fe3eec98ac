"""`sharedris runs`: damaged files hide no other run; runs are tagged, archived and removed, each by itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.files import write_json
from pipeline.job import Job, resolve_job
from pipeline.lifecycle.locks import driver_lock
from pipeline.monitoring.mlflow_tracker import Tracker
from pipeline.monitoring.progress import Progress, ProgressFile, read_progress
from pipeline.records import list_runs, record_path
from pipeline.run import run_in_process
from pipeline.run_marks import Marks, marks_path, read_marks
from sweeps.plan import SweepPlan
from sweeps.status import describe
from tests.integration.micro_sweep import plan_of

PROVENANCE = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}


@pytest.fixture(scope="module")
def trained(toy_root: Path, micro_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs whose ids begin alike but for the last letters."""
    runs = tmp_path_factory.mktemp("trained")
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(runs))
    for seed in (0, 1):
        run_in_process(resolve_job(replace(micro_run, seed=seed), execution, provenance=PROVENANCE))
    return runs


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def listed(runs: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, str]:
    """Run id -> its line."""
    assert main(["runs", "--runs", str(runs), *options]) == 0
    return {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class TestDamagedFiles:
    """Each kind of damage to one file, in `sharedris runs` and in `sweeps status`."""

    @pytest.fixture
    def plan(self, toy_root: Path, micro_run: RunConfig, tmp_path: Path) -> SweepPlan:
        """Four cells: one done, two that have begun."""
        plan = plan_of(micro_run, str(toy_root), str(tmp_path / "runs"))
        jobs = [planned.job for planned in plan.cells if planned.job is not None]
        run_in_process(jobs[0])
        for job in jobs[1:3]:
            reading = Progress(run_id=job.run_id, phase="training", epoch=3, epochs=10, step=25, steps=100)
            ProgressFile(job.state_folder).write(reading)
        return plan

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\0\0", b'{"phase": 1, "run_id": []}', b"[" * 100_000])
    @pytest.mark.parametrize("name", ["progress.json", "failure.json", "driver.json", "run.log"])
    def test_in_a_state_folder(
        self, name: str, content: bytes, plan: SweepPlan, capsys: pytest.CaptureFixture[str]
    ) -> None:
        job, other = plan.cells[1].job, plan.cells[2].job
        assert isinstance(job, Job)
        assert isinstance(other, Job)
        (job.state_folder / name).write_bytes(content)
        lines = listed(plan.runs_root, capsys)
        assert job.run_id in lines
        assert "interrupted training, epoch 3/10, 24 %" in lines[other.run_id]
        status = describe(plan).splitlines()
        assert "oIoU" in status[1]
        assert "interrupted while training" in status[3]

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + b"\xff" * 64 + b"PAR1"])
    @pytest.mark.parametrize("folder", ["records", "history"])
    def test_in_a_table(self, folder: str, content: bytes, plan: SweepPlan, capsys: pytest.CaptureFixture[str]) -> None:
        job, other = plan.cells[0].job, plan.cells[1].job
        assert isinstance(job, Job)
        assert isinstance(other, Job)
        (plan.runs_root / folder / f"{job.run_id}.parquet").write_bytes(content)
        lines = listed(plan.runs_root, capsys)
        assert ("damaged" if folder == "records" else "oIoU") in lines[job.run_id]
        assert "interrupted training" in lines[other.run_id]
        status = describe(plan).splitlines()
        assert ("its record is damaged" if folder == "records" else "oIoU") in status[1]
        assert plan.cells[0].state == ("missing" if folder == "records" else "done")
        assert "interrupted while training" in status[2]

    def test_notes_about_a_run(self, plan: SweepPlan, capsys: pytest.CaptureFixture[str]) -> None:
        job = plan.cells[0].job
        assert isinstance(job, Job)
        marks_path(plan.runs_root, job.run_id).parent.mkdir()
        for content in ("", "[]", '{"tags": 7, "archived": "yes"}'):
            marks_path(plan.runs_root, job.run_id).write_text(content)
            assert read_marks(plan.runs_root, job.run_id) == Marks()
            assert "oIoU" in listed(plan.runs_root, capsys)[job.run_id]

    def test_a_folder_in_the_place_of_a_file(self, plan: SweepPlan, capsys: pytest.CaptureFixture[str]) -> None:
        job = plan.cells[1].job
        assert isinstance(job, Job)
        (job.state_folder / "progress.json").unlink()
        (job.state_folder / "progress.json").mkdir()
        assert "not begun" in listed(plan.runs_root, capsys)[job.run_id]


def test_a_progress_file_of_another_version_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "progress.json", {"run_id": "a", "phase": "training", "epoch": 2, "added_later": 1})
    reading = read_progress(tmp_path)
    assert reading is not None
    assert (reading.epoch, reading.epochs) == (2, 0)


def test_tags_are_added_shown_and_removed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = list_runs(runs)
    assert main(["runs", "--runs", str(runs), "tag", run, "smoke", "first try"]) == 0
    assert main(["runs", "tag", run, "smoke", "late", "--runs", str(runs)]) == 0
    assert f"{run}: first try, late, smoke" in capsys.readouterr().out
    lines = listed(runs, capsys)
    assert lines[run].endswith("[first try, late, smoke]")
    assert not lines[other].endswith("]")
    assert main(["runs", "--runs", str(runs), "tag", run, "--remove", "late", "first try", "smoke"]) == 0
    assert not marks_path(runs, run).exists()


def test_an_archived_run_is_left_out_until_it_is_shown_again(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = list_runs(runs)
    before = files_below(runs)
    assert main(["runs", "--runs", str(runs), "archive", run]) == 0
    capsys.readouterr()
    assert list_runs(runs) == [other], "the tables are made of these"
    assert list_runs(runs, archived=True) == [run, other]
    lines = listed(runs, capsys)
    assert run not in lines
    assert lines["1"] == "1 archived, shown by --all"
    assert listed(runs, capsys, "--all")[run].endswith("[archived]")
    assert main(["runs", "--runs", str(runs), "archive", run, "--undo"]) == 0
    assert list_runs(runs) == [run, other]
    assert files_below(runs) == before


def test_a_run_is_removed_and_no_other(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = list_runs(runs)
    (runs / "state" / f"{run}-more").mkdir(parents=True)
    (runs / "models" / f"{run}-more").mkdir()
    kept = {name for name in files_below(runs) if run not in name}
    assert main(["runs", "--runs", str(runs), "tag", run, "smoke"]) == 0
    assert main(["runs", "--runs", str(runs), "rm", run, "--yes"]) == 0
    assert f"removed records/{run}.parquet, history/{run}.parquet, samples/{run}" in capsys.readouterr().out
    assert files_below(runs) == kept
    assert (runs / "models" / f"{run}-more").is_dir()
    assert not (runs / "state" / run).exists()
    assert list_runs(runs) == [other]
    assert main(["runs", "--runs", str(runs), "rm", run, "--yes"]) == 2
    assert f"no run '{run}' below {runs}. There are: {other}" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_removing_asks(answer: str, code: int, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = list_runs(runs)[0]
    with patch("sys.stdin") as terminal, patch("builtins.input", return_value=answer):
        terminal.isatty.return_value = True
        assert main(["runs", "--runs", str(runs), "rm", run]) == code
    assert f"this removes records/{run}.parquet" in capsys.readouterr().out
    assert record_path(runs, run).exists() == (code == 1)


def test_nothing_is_removed_without_a_question(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = list_runs(runs)[0]
    with patch("sys.stdin") as pipe:
        pipe.isatty.return_value = False
        assert main(["runs", "--runs", str(runs), "rm", run]) == 2
    assert "Add --yes" in capsys.readouterr().err
    assert record_path(runs, run).exists()


def test_a_run_that_is_at_work_is_not_removed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = list_runs(runs)[0]
    with driver_lock(runs / "state" / run):
        assert main(["runs", "--runs", str(runs), "rm", run, "--yes"]) == 2
    assert "is being run by process" in capsys.readouterr().err
    assert record_path(runs, run).exists()


@pytest.mark.parametrize("name", ["..", ".", "../outside", "a/b", "", "a\\b", "a\0b", "a\x1b[31m", " a"])
@pytest.mark.parametrize("action", [["rm", "--yes"], ["archive"], ["tag", "--", "smoke"]], ids=lambda action: action[0])
def test_a_name_that_is_a_path_is_refused(
    action: list[str], name: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs.parent / "outside").mkdir()
    words = [action[0], name, *action[1:]] if action[0] != "tag" else ["tag", name, "smoke"]
    before = files_below(runs.parent)
    assert main(["runs", "--runs", str(runs), *words]) == 2
    said = capsys.readouterr().err
    assert "cannot name a run" in said
    assert "\x1b" not in said
    assert files_below(runs.parent) == before


def test_a_link_is_removed_and_not_what_it_points_to(runs: Path, tmp_path: Path) -> None:
    run = list_runs(runs)[0]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    shutil.rmtree(runs / "models" / run)
    (runs / "models" / run).symlink_to(outside)
    assert main(["runs", "--runs", str(runs), "rm", run, "--yes"]) == 0
    assert (outside / "file").exists()
    assert not (runs / "models" / run).is_symlink()


def test_files_are_written_with_the_umask_of_the_user(toy_root: Path, micro_run: RunConfig, tmp_path: Path) -> None:
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(tmp_path / "runs"))
    before = os.umask(0o027)
    try:
        run_in_process(resolve_job(micro_run, execution, provenance=PROVENANCE))
        Tracker(tmp_path / "runs", "e").parent("key", {})
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "runs").rglob("*")}
    wrong = {str(path): oct(mode) for path, mode in modes.items() if mode != (0o750 if path.is_dir() else 0o640)}
    assert not wrong, "a group could not share these"


@pytest.mark.parametrize(
    "command",
    [
        lambda tmp: ["evaluate", str(tmp / "model"), "a_b/val", "--out", "/proc/nowhere/rows.parquet"],
        lambda tmp: ["predict", str(tmp / "image.png"), "words", "--run", "x", "--out", "/proc/nowhere/o.png"],
        lambda tmp: ["import", "beit3", str(tmp / "weights"), "--out", "/proc/nowhere/weights"],
    ],
    ids=["evaluate", "predict", "import-beit3"],
)
def test_an_output_that_cannot_be_written_is_named_before_the_work(
    command: Callable[[Path], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path)) == 2
    said = capsys.readouterr().err
    assert "/proc/nowhere cannot be written: " in said
    assert "Set --out" in said
    assert len(said.splitlines()) == 1


def test_sweeps_find_an_unwritable_root_before_they_measure_costs(
    toy_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeps.__main__ import main as sweeps_main

    with patch("sweeps.costs.write_paper_costs", side_effect=AssertionError("costs were measured")):
        options = ["--prepared", str(toy_root), "--runs", "/proc/nowhere/runs"]
        assert sweeps_main(["run", "fpn", *options]) == 2
        assert sweeps_main(["costs", "fpn", "--runs", "/proc/nowhere/runs"]) == 2
    said = capsys.readouterr().err
    assert said.count("/proc/nowhere/runs cannot be written: ") == 2
    assert said.count("Set --runs (make: RUNS=) to another place") == 2
