"""Lines where there is no terminal; a table of all cells where there is one."""

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.config import RunConfig
from pipeline.monitoring.console_log import log_to_console
from sweeps import live_table
from tests.integration.micro_sweep import plan_of

log = logging.getLogger("sweeps.test")


def test_without_a_terminal_lines_are_printed_as_they_come(
    toy_root: Path, micro_run: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with log_to_console(), live_table.live_table(plan_of(micro_run, str(toy_root), str(tmp_path))):
        log.info("T/{1} epoch 1/2 [bold]not markup[/bold]")
    assert capsys.readouterr().out == "T/{1} epoch 1/2 [bold]not markup[/bold]\n"


def test_on_a_terminal_every_cell_is_in_the_table(
    toy_root: Path, micro_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        live_table, "Console", lambda **given: Console(file=screen, force_terminal=True, width=100, **given)
    )
    plan = plan_of(micro_run, str(toy_root), str(tmp_path))
    with log_to_console(), live_table.live_table(plan):
        log.info("a line [x]")
    shown = screen.getvalue()
    assert "a line [x]" in shown
    for planned in plan.cells:
        assert planned.cell.label in shown
    assert "0 of 4 done" in shown
