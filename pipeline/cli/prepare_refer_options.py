"""The options of `sharedris data prepare refer`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cli.prepare_options import PrepareOptions


@dataclass(frozen=True, kw_only=True)
class Options(PrepareOptions):
    """The download, and what is changed in it."""

    root: str = "data/refer"
    """Folder that holds refcoco, refcoco+, ..."""
    tokenizer_sets: str = ""
    """Train the tokenizer on these sets' sentences (SET,SET), to combine them later."""
    corrections: str | None = None
    """Folder with the parquet of refcoco-m, whose masks replace those of the set: prepares SET+refcocom."""
