"""A live table of cells below the log lines of a running sweep, on a terminal only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from pipeline.monitoring.console_log import lines_through
from sweeps.plan import SweepPlan
from sweeps.status import detail

_COLORS = {"done": "green", "missing": "yellow", "not built": "dim", "no data": "red"}
MOST_ROWS = 24


@contextlib.contextmanager
def live_table(plan: SweepPlan) -> Iterator[None]:
    """Show the states of all cells below the newest log line while the block runs, on a terminal."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield
        return
    live = Live(get_renderable=lambda: table_of(plan), console=console, refresh_per_second=1, transient=True)
    with live, lines_through(lambda line: live.console.print(escape(line))):
        yield


def table_of(plan: SweepPlan) -> Table:
    """Return a table of the cells' states, read from files; only unfinished ones where there are too many."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    unfinished = [planned for planned in plan.cells if planned.state == "missing"]
    shown = plan.cells if len(plan.cells) <= MOST_ROWS else unfinished[:MOST_ROWS]
    for planned in shown:
        color = _COLORS[planned.state]
        table.add_row(f"[{color}]{planned.state}[/]", escape(planned.cell.label), escape(detail(planned)))
    table.add_row("", f"{len(plan.in_state('done'))} of {len(plan.cells)} done", "")
    return table
