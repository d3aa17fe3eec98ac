"""`--verbose` and `--quiet` for every command, and lines above a progress bar."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from pipeline.cli.commands import COMMANDS
from pipeline.cli.main import main
from pipeline.cli.parsing import command_module, parse
from pipeline.monitoring.console_log import level_of, lines_through, log_to_console
from tests.pipeline.test_cli_runs import arguments

log = logging.getLogger("pipeline.somewhere")


def test_every_command_takes_both() -> None:
    for path in COMMANDS:
        names = {field.name for field in dataclasses.fields(command_module(path).Options)}
        assert {"verbose", "quiet", "plugin"} <= names, path


@pytest.mark.parametrize(
    ("line", "level"), [("", logging.INFO), ("--quiet", logging.WARNING), ("--verbose", logging.DEBUG)]
)
def test_the_option_sets_the_level(line: str, level: int) -> None:
    options = parse(("sweep", "list"), line.split())
    assert level_of(options) == level


@pytest.mark.parametrize(
    ("level", "printed"),
    [
        (logging.DEBUG, "a debug line\nan info line\na warning\n"),
        (logging.INFO, "an info line\na warning\n"),
        (logging.WARNING, "a warning\n"),
    ],
)
def test_lines_below_the_level_are_not_printed(level: int, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_console(level):
        log.debug("a debug line")
        log.info("an info line")
        log.warning("a warning")
        logging.getLogger("mlflow").warning("of another library")
    log.warning("after the command")
    assert capsys.readouterr().out == printed


def test_lines_go_where_a_progress_bar_puts_them(capsys: pytest.CaptureFixture[str]) -> None:
    above: list[str] = []
    with log_to_console(), lines_through(above.append):
        log.info("%d %s", 1, "line")
    assert above == ["1 line"]
    assert capsys.readouterr().out == ""


def test_a_quiet_training_prints_only_its_result(
    toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(toy_root, tmp_path), "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["record", "model"]


@pytest.mark.parametrize("command", [lambda: main(["sweep", "list", "--quiet"]), lambda: main(["sweep", "list"])])
def test_results_are_printed_whatever_the_level(command: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> None:
    with patch("sys.stdout.isatty", return_value=False):
        assert command() == 0
    assert "fpn" in capsys.readouterr().out
