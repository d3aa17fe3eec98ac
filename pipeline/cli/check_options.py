"""The options of `sharedris data check`."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from pipeline.cli.common_options import CommonOptions, Flag


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """What is checked, and what is written about it."""

    set: tyro.conf.Positional[str]
    """Set in full: refcoco_unc, refcocog_umd, toyplus_unc, or a custom set."""
    prepared: str = "data/prepared"
    """Root of prepared sets, folder or URI."""
    root: str | None = None
    """Check the REFER layout below this folder instead of prepared data."""
    corrections: str | None = None
    """With --root: folder with the parquet of refcoco-m, as for prepare."""
    annotations: str | None = None
    """Check a .jsonl or .csv file instead of prepared data."""
    reader: str = "lines"
    """Reader of --annotations."""
    images: str | None = None
    """Image folder of --root or --annotations."""
    no_images: Flag = False
    """Do not read the images."""
    tokenizer: str | None = None
    """Count pieces with this sentencepiece model."""
    text_tokens: int = 20
    """Sequence length T."""
    out: str | None = None
    """Write all findings to this JSON file."""
    sheet: str | None = None
    """Write a data sheet (HTML)."""
