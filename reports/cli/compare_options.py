"""The options of `sharedris report compare`."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from reports.cli.report_options import ReportOptions


@dataclass(frozen=True, kw_only=True)
class Options(ReportOptions):
    """The runs."""

    names: tyro.conf.Positional[tuple[str, ...]]
    """Ids of runs, or beginnings of them."""
