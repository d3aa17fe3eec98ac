"""The options of `sharedris data prepare hf`."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from pipeline.cli.prepare_options import PrepareOptions


@dataclass(frozen=True, kw_only=True)
class Options(PrepareOptions):
    """The parquet files; --images is for rows without embedded images."""

    folder: tyro.conf.Positional[str]
    """A folder with parquet files, or one of them."""
