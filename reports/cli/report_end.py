"""What the reports check before their work, print, and end with."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from pipeline.cli.common_options import known
from pipeline.cli.machine_output import add_result
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.files import require_writable
from reports.cli.report_options import ReportOptions
from reports.layout import Table
from reports.render import to_text
from sharedris.errors import printable


def check_report(options: ReportOptions) -> None:
    """Refuse what would end a report after its work.

    Raises:
        InputError: for a protocol that does not exist, or an unwritable folder.
    """
    known(PROTOCOLS, options.protocol, "--protocol")
    require_writable(options.place, "--out")


def shown(table: Table) -> str:
    """Return a table for the terminal, whose labels may come from records."""
    return "\n".join(map(printable, to_text(table).split("\n")))


def ended_with(problems: Iterable[str]) -> int:
    """Print what could not be used; return 1 where there is any, else 0."""
    problems = list(problems)
    add_result(problems=problems)
    for problem in problems:
        print(printable(f"problem: {problem}"), file=sys.stderr)
    return 1 if problems else 0
