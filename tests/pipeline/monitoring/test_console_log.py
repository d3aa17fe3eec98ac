"""`--verbose` and `--quiet` for every command, before and after its name, and lines above a progress bar."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from pipeline.cli.main import COMMANDS, main
from pipeline.monitoring.console_log import add_verbosity_arguments, level_of, lines_through, log_to_console
from sweeps.__main__ import main as sweeps_main
from tests.frozen import _help_below, _parser_of, _subparsers
from tests.pipeline.test_cli_runs import arguments

log = logging.getLogger("pipeline.somewhere")


def every_parser() -> Iterator[argparse.ArgumentParser]:
    """Every command and sub-command of `sharedris` and `python -m sweeps`."""
    for name in COMMANDS:
        yield _subparsers(_parser_of(main, [name]))[name]
    yield from _subparsers(_parser_of(sweeps_main, [])).values()


def test_every_command_and_sub_command_takes_both() -> None:
    texts = [text for parser in every_parser() for text in _help_below(parser)]
    assert len(texts) >= len(COMMANDS) + 8
    for text in texts:
        assert re.search(r"^ +--verbose +print debug lines too$", text, re.MULTILINE), text
        assert re.search(r"^ +--quiet +print only warnings and results$", text, re.MULTILINE), text


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("", logging.INFO),
        ("--quiet", logging.WARNING),
        ("--verbose", logging.DEBUG),
        ("--quiet below", logging.WARNING),
        ("below --quiet", logging.WARNING),
        ("--verbose below", logging.DEBUG),
    ],
)
def test_the_option_counts_before_and_after_the_name_of_a_sub_command(line: str, level: int) -> None:
    parser = argparse.ArgumentParser()
    parser.add_subparsers().add_parser("below")
    add_verbosity_arguments(parser)
    assert level_of(parser.parse_args(line.split())) == level


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


@pytest.mark.parametrize("command", [lambda: sweeps_main(["list", "--quiet"]), lambda: sweeps_main(["list"])])
def test_results_are_printed_whatever_the_level(command: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> None:
    with patch("sys.stdout.isatty", return_value=False):
        assert command() == 0
    assert "fpn" in capsys.readouterr().out
