"""What the commands over the cells of one sweep have as options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import tyro

from pipeline.cli.run_options import RunOptions, read_first, starting_run

S = TypeVar("S", bound="SweepOptions")


@dataclass(frozen=True, kw_only=True)
class SweepOptions(RunOptions):
    """A sweep, and the run that its rows change."""

    name: tyro.conf.Positional[str] = ""
    """Sweep by name (sharedris sweep list), or a .py file with one."""
    seeds: int = 1
    """Number of seeds: 0 .. N-1."""
    words: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


def starting_sweep(options_class: type[S], words: Sequence[str]) -> S:
    """Return the options before the command line changes them, which remember its words.

    A row at another scale reads the same words again, over that scale's defaults.
    """
    return options_class(run=starting_run(read_first(words)), words=tuple(words))
