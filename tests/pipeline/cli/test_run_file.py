"""A run that is written as a file is the same run when it is read, and a bad file is one line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.cli.parsing import parse
from pipeline.cli.run_file import read_run_file, run_file_text
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.recipes import default_run
from sharedris.config import to_dict
from sharedris.errors import InputError


@pytest.mark.parametrize("scale", ["tiny", "base", "large"])
def test_the_whole_run_comes_back(scale: str, tmp_path: Path) -> None:
    run = dataclasses.replace(default_run(scale=scale), seed=3)
    where = ExecutionConfig(workers=2, node_labels=(("kind", "fast"),), wait_for_resources=5)
    path = tmp_path / "run.yaml"
    path.write_text(run_file_text(run, where))
    assert read_run_file(path) == (run, where)
    assert read_run_file(path)[0].content_hash("d") == run.content_hash("d")


def test_json_and_toml_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"run": {"seed": 2, "optim": {"warmup_steps": 5}}}))
    (tmp_path / "run.toml").write_text("[run]\nseed = 2\n[run.optim]\nwarmup_steps = 5\n")
    runs = [read_run_file(tmp_path / name)[0] for name in ("run.json", "run.toml")]
    assert runs[0] == runs[1]
    assert runs[0].optim.warmup_steps == 5
    assert runs[0].optim.learning_rate == default_run().optim.learning_rate


def test_an_option_changes_a_field_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    assert main(["train", "--seed", "7", "--epochs", "2", "--workers", "2", "--print-config"]) == 0
    path.write_text(capsys.readouterr().out)
    options = parse(("train",), ["--config", str(path), "--optim.warmup-steps", "9"])
    assert (options.run.seed, options.run.train.epochs, options.run.optim.warmup_steps) == (7, 2, 9)
    assert options.where.workers == 2
    expected: RunConfig = dataclasses.replace(default_run(), seed=7)
    assert to_dict(options.run.model) == to_dict(expected.model)


def test_the_file_names_the_store_and_not_the_folder_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHAREDRIS_CACHE", str(tmp_path))
    monkeypatch.setattr("pipeline.object_store.opened.opened_runs", lambda *_: contextlib.nullcontext())
    assert main(["train", "--runs", "s3://lab/runs", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert "runs_root: s3://lab/runs" in printed
    assert str(tmp_path) not in printed


BOMB = "run: &a [x, x]\nwhere: [*a, *a]\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("run.ini", "x", "is none of"),
        ("run.yaml", BOMB, "aliases"),
        ("run.yaml", "run: !!python/object/apply:os.system [echo]\n", "is not YAML"),
        ("run.yaml", "run: [1", "is not YAML"),
        ("run.yaml", "other: 1\n", "has not the parts"),
        ("run.yaml", "run: 3\n", "run.yaml"),
        ("run.yaml", "run: {seed: x}\n", "seed"),
        ("run.yaml", "run: {made_up: 1}\n", "made_up"),
        ("run.json", "[" * 100_000, "is not JSON"),
        ("run.json", '{"run": {"model": 5}}', "model"),
        ("run.toml", "run = ", "is not TOML"),
        ("run.yaml", "#" * (2**20 + 1), "bytes"),
    ],
)
def test_a_bad_file_is_one_line(name: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words) as refused:
        read_run_file(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_no_file_and_two_starts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", str(tmp_path / "none.yaml"), "--plan"]) == 2
    assert main(["train", "--config", "a.yaml", "--like", "R", "--plan"]) == 2
    assert main(["train", "--like", "made-up", "--runs", str(tmp_path), "--plan"]) == 2
    assert main(["train", "--config", "a.yaml", "--scale", "base", "--plan"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "exclude each other" in lines[1]
