"""The options of `sharedris data export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from pipeline.cli.common_options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The set, and the folder that is written."""

    set: tyro.conf.Positional[str]
    """A prepared set."""
    format: Literal["hf", "coco"]
    """Parquet of Hugging Face's `datasets`, or COCO's JSON."""
    out: Path
    """Folder to write; it must not be there yet."""
    prepared: str = "data/prepared"
    """Root of prepared sets, folder or URI."""
