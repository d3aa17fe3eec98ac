"""A plugin from outside the project on the whole way: command line, workers, record, model folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig, replace_at
from pipeline.records import RECORD_SCHEMA, read_table, record_path
from sharedris import plugins, registry
from sharedris.errors import InputError
from sharedris.plugins import load_plugin
from sweeps.__main__ import main as main_of_sweeps
from tests.integration import workers
from tests.integration.test_failures import job_of
from tests.sharedris.test_plugins import FUSION, write

SMALL = [
    "--model.fpn.kind=mixer",
    "--model.fpn.stages",
    "1",
    "2",
    "--model.encoder.layers=2",
    "--model.encoder.image-size=64",
]
SWEEP = """
from sweeps.spec import Row, Sweep, fpn
SWEEPS = {"mine": Sweep(name="mine", title="my own rows", tables={"mine": (Row(label="as it is"),)})}
"""


@pytest.fixture(autouse=True)
def _fresh(fresh_plugins: None) -> None:
    """Each test starts without plugins."""


def test_a_plugin_trains_by_the_command_and_its_model_names_it(
    toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    source, runs = write(tmp_path / "mine.py", FUSION), tmp_path / "runs"
    where = ["--prepared", str(toy_root), "--device", "cpu"]
    shape = ["--runs", str(runs), "--epochs", "1", "--global-batch-size", "8"]
    assert main(["train", *where, *shape, *SMALL]) == 2
    assert "unknown kind 'mixer'" in capsys.readouterr().err
    assert not (runs / "state").exists()
    assert main(["train", *where, *shape, *SMALL, "--plugin", source]) == 0
    (run_id,) = [path.stem for path in (runs / "records").iterdir()]
    rows = read_table(record_path(runs, run_id), RECORD_SCHEMA)
    sha = plugins.loaded_plugins()[0].sha256
    assert {*rows["plugins_json"]} == {json.dumps({"mine": sha})}
    assert hashlib.sha256(f"mine.py\n{len(FUSION)}\n{FUSION}".encode()).hexdigest() == sha
    evaluate = ["evaluate", str(runs / "models" / run_id), "toyplus_unc/val", *where]
    assert main(evaluate) == 0
    monkeypatch.setattr(plugins, "_loaded", {})
    del registry.FUSIONS["mixer"]
    capsys.readouterr()
    assert main(evaluate) == 2
    needs = f"The model needs mine (SHA-256 {sha[:12]}): give --plugin with its file"
    assert needs in capsys.readouterr().err
    edited = write(tmp_path / "edited" / "mine.py", FUSION + "# edited")
    assert main([*evaluate, "--plugin", edited]) == 0
    assert "the model had another mine" in capsys.readouterr().out
    assert main(["train", *where, *shape, *SMALL, "--plugin", edited]) == 0
    printed = capsys.readouterr().out
    assert f"{run_id} is done, but had another mine (SHA-256 {sha[:12]}, here" in printed
    assert f"{run_id} is done already" in printed


def test_two_workers_load_the_plugin_from_the_job(
    micro_run: RunConfig, two_workers: ExecutionConfig, tmp_path: Path
) -> None:
    source = tmp_path / "mine.py"
    load_plugin(write(source, FUSION))
    model = replace_at(micro_run.model, "fpn.kind", "mixer")
    job = job_of(replace_at(micro_run, "model", model), two_workers, epochs=1)
    source.unlink()
    assert workers.finish(workers.start(job, 2)) == [0, 0]
    rows = read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)
    assert {*rows["world_size"]} == {2}
    assert json.loads(rows["plugins_json"].iloc[0]) == {"mine": job.plugins[0].sha256}


def test_a_plugin_changes_no_run_id(micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path) -> None:
    before = job_of(micro_run, execution)
    load_plugin(write(tmp_path / "mine.py", FUSION))
    after = job_of(micro_run, execution)
    assert (after.run_id, after.content_hash, after.recipe) == (before.run_id, before.content_hash, before.recipe)
    assert before.plugins == ()
    assert len(after.plugins) == 1


def test_sweeps_of_a_plugin_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main_of_sweeps(["list", "--plugin", write(tmp_path / "mine.py", SWEEP)]) == 0
    assert "mine         my own rows (1 rows)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", ["train", "data prepare refer", "data check", "cost", "runs list", "evaluate", "predict"]
)
def test_every_command_refuses_a_bad_plugin_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, command: str
) -> None:
    assert main([*command.split(), "--plugin", write(tmp_path / "bad.py", "1 / 0")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sharedris {command}: {tmp_path}/bad.py, line 1: the plugin does not import: ZeroDiv")


def test_sweeps_refuse_a_bad_plugin_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main_of_sweeps(["run", "fpn", "--plugin", str(tmp_path / "absent.py")]) == 2
    assert "absent.py does not exist" in capsys.readouterr().err


def test_data_files_cause_no_import(
    micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config that names a module by place, as the registry does for its own, is a name and nothing else."""
    write(tmp_path / "evil.py", "raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises((ValueError, InputError), match="unknown kind 'evil:build'"):
        replace_at(micro_run, "model.fpn.kind", "evil:build")
