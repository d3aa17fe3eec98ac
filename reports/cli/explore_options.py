"""The options of `sharedris report explore`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.cli.report_options import ReportOptions


@dataclass(frozen=True, kw_only=True)
class Options(ReportOptions):
    """Whose masks are packed, and what is kept of the images."""

    masks_of: tuple[str, ...] | None = None
    """Runs whose masks are packed (default: those of the tables)."""
    images: Literal["thumbnails", "paths", "none"] = "thumbnails"
    """Small copies in the file, paths relative to it, or none."""
