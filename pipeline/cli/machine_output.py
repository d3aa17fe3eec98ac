"""What a command prints for machines: one JSON object on standard output, and every other line on standard error."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

_streams: list[TextIO] = []
_results: dict[str, Any] = {}


@contextlib.contextmanager
def only_json(active: bool) -> Iterator[None]:
    """Keep standard output for results while the block lasts; other lines go to standard error."""
    if not active:
        yield
        return
    _streams.append(sys.stdout)
    _results.clear()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
            if _results:
                print_json(_results)
    finally:
        _streams.pop()
        _results.clear()


def add_result(**values: Any) -> None:
    """Add named values to the object that `--json` prints at the end of the command."""
    _results.update(values)


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
