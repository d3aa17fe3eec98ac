"""What a command prints for machines: one JSON object on standard output, and every other line on standard error."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipeline.cli.common_options import CommonOptions, Flag

_streams: list[TextIO] = []


@dataclass(frozen=True, kw_only=True)
class JsonOptions(CommonOptions):
    """Options of a command that has a result for machines."""

    json: Flag = False
    """Print the result as one JSON object, and all other lines on standard error."""


@contextlib.contextmanager
def only_json(active: bool) -> Iterator[None]:
    """Keep standard output for `print_json` while the block lasts; other lines go to standard error."""
    if not active:
        yield
        return
    _streams.append(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _streams.pop()


def print_json(values: Any) -> None:
    """Print values as JSON; a number that is not finite is null, a path is text."""
    print(json.dumps(_plain(values), indent=1), file=_streams[-1] if _streams else sys.stdout)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value  # numbers of numpy
