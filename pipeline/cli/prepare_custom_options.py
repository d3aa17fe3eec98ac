"""The options of `sharedris data prepare custom`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cli.prepare_options import PrepareOptions


@dataclass(frozen=True, kw_only=True)
class Options(PrepareOptions):
    """The annotation file."""

    annotations: str
    """A .jsonl or .csv file, a ref per line; its images are below its folder."""
    reader: str = "lines"
    """Reader of the file; a plugin adds more."""
