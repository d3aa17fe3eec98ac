"""The table of commands: every one has its code and its help, and a wrong word is answered with the nearest."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.cli.commands import COMMANDS, DEFAULTS, GROUPS, find_command
from pipeline.cli.main import main
from pipeline.cli.parsing import command_module, options_module
from sharedris.errors import InputError


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_has_options_and_an_action(path: tuple[str, ...]) -> None:
    assert options_module(path).Options.__dataclass_params__.frozen
    assert callable(command_module(path).run)
    assert COMMANDS[path].help[0].islower()
    assert not COMMANDS[path].help.endswith(".")


def test_a_group_is_no_command_and_has_some() -> None:
    assert not set(GROUPS) & set(COMMANDS)
    for path in GROUPS:
        assert any(each[: len(path)] == path for each in COMMANDS)
    for group, default in DEFAULTS.items():
        assert group in GROUPS
        assert default in COMMANDS


@pytest.mark.parametrize(
    ("words", "path", "rest"),
    [
        (["train", "--seed", "1"], ("train",), ["--seed", "1"]),
        (["data", "prepare", "custom", "a.jsonl"], ("data", "prepare", "custom"), ["a.jsonl"]),
        (["runs", "--all"], ("runs", "list"), ["--all"]),
        (["runs", "tag", "list"], ("runs", "tag"), ["list"]),
        (["report", "VII-a"], ("report", "tables"), ["VII-a"]),
        (["score", "masks.jsonl"], ("score", "masks"), ["masks.jsonl"]),
        (["sweep", "--help"], ("sweep",), ["--help"]),
        ([], (), []),
    ],
)
def test_words_name_the_longest_command(words: list[str], path: tuple[str, ...], rest: list[str]) -> None:
    assert find_command(words) == (path, rest)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["trian"], "Did you mean train"),
        (["sweep", "rnu"], "Did you mean run"),
        (["status"], "Did you mean sweep status"),
        (["data", "zzzz"], "There are: check, export, identify, prepare, synthesize"),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest(words: list[str], remedy: str) -> None:
    with pytest.raises(InputError, match=remedy):
        find_command(words)


@pytest.mark.parametrize("words", [["trian"], ["train", "--epoch", "3"], ["--made-up"], ["export"]])
def test_a_wrong_line_is_one_line_and_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


def test_an_option_that_is_nearly_right_is_proposed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--epoch", "3"]) == 2
    assert "Did you mean --epochs" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_error_is_one_line_in_every_encoding(encoding: str) -> None:
    words = [sys.executable, "-m", "pipeline.cli.main", "runs", "--protcol", "original"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr == (
        "sharedris runs list: unrecognized options: --protcol, original. Did you mean --protocol? "
        "sharedris runs list --help shows the options\n"
    )


def test_a_group_prints_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {path[1]} " in printed for path in COMMANDS if path[0] == "sweep")
    assert main(["sweep"]) == 2


HEAVY = {"torch", "numpy", "pandas", "pyarrow", "scipy", "matplotlib", "ray", "mlflow", "PIL", "pycocotools"}


def test_help_waits_for_no_heavy_package() -> None:
    """All in one process: what the options of no command import, none imports."""
    code = (
        "import contextlib, io, sys\n"
        "from pipeline.cli.commands import COMMANDS\n"
        "from pipeline.cli.main import main\n"
        "from pipeline.cli.parsing import options_module\n"
        "for path in COMMANDS:\n"
        "    module = options_module(path)\n"
        "    getattr(module, 'starting_options', print)([])\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['sweep', 'run', '--help'])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY


def test_the_overview_imports_nothing_heavy() -> None:
    code = "import sys; from pipeline.cli.main import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {*HEAVY, "tyro", "rich"}


def test_the_version_names_the_commit_of_a_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sharedris 0.")
