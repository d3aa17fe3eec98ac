"""Options that every command has, and the types that options of several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from pipeline.object_store.address import runs_folder
from sharedris.errors import InputError

T = TypeVar("T")

Flag = tyro.conf.FlagCreatePairsOff[bool]
"""An option without a value, whose opposite is to leave it out."""

CurveFlag = Annotated[
    Flag,
    tyro.conf.arg(
        help="For recorded splits without them: store the counts over thresholds 0.05 .. 0.95 that a report's curve is "
        "drawn from, by evaluating the exported model again; the record stays as it is."
    ),
]

Device = Literal["auto", "cpu", "cuda"]


RunsFolder = Annotated[
    Path,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="DIR",
        instance_from_str=lambda words: runs_folder(words[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""Root of runs: a folder, or a prefix of an object store (s3://bucket/prefix)."""


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """What every command takes."""

    plugin: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """File or package of Python code to run first, which adds modules, sweeps, ... (docs/extending.md)."""
    verbose: Flag = False
    """Print debug lines too."""
    quiet: Flag = False
    """Print only warnings and results."""
    json: Flag = False
    """Print the result as one JSON object, and all other lines on standard error."""


def known(registry: Mapping[str, T], name: str, option: str) -> T:
    """Return the value of a name.

    Raises:
        InputError: for a name that is not there; names those that are.
    """
    if name not in registry:
        raise InputError(f"{option} {name} is not known", f"Choose one of {', '.join(registry)}")
    return registry[name]


def require_positive(options: CommonOptions, *names: str) -> None:
    """Refuse an option that is a number below 1; None is left to the command.

    Raises:
        InputError: that names the option.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value} is not a number above 0", "Give 1 or more")


def plugins_named_in(words: Sequence[str]) -> list[str]:
    """Return the plugins that a command line names, before its options are read: their values may be theirs."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--plugin", action="append", default=[])
    named: list[str] = parser.parse_known_args(list(words))[0].plugin
    return named
