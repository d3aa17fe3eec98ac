"""Log lines on the terminal: what a command prints while it runs, and how a progress bar stays below them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

OWN_LOGGERS = ("sharedris", "pipeline", "sweeps", "reports")
"""Loggers of this project. Handlers hang on these and not on the root, which other libraries log to."""


def _print_line(line: str) -> None:
    print(line, flush=True)  # a log file is read while the run goes on


class ConsoleHandler(logging.Handler):
    """Prints each record as one line to standard output."""

    def __init__(self) -> None:
        super().__init__()
        self.write: Callable[[str], None] = _print_line

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        self.write(self.format(record))


_HANDLER = ConsoleHandler()


@contextlib.contextmanager
def own_handler(handler: logging.Handler, level: int) -> Iterator[None]:
    """Attach a handler to the project's loggers while the block lasts.

    Args:
        handler: receives each record of the project's loggers.
        level: lowest level that the loggers pass on; never raises a level that another handler needs.
    """
    loggers = [logging.getLogger(name) for name in OWN_LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level if logger.level == logging.NOTSET else min(level, logger.level))
    try:
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(old)


@contextlib.contextmanager
def log_to_console(level: int = logging.INFO) -> Iterator[None]:
    """Print the project's log lines from this level on while the block lasts."""
    _HANDLER.setLevel(level)
    with own_handler(_HANDLER, level):
        yield


@contextlib.contextmanager
def lines_through(write: Callable[[str], None]) -> Iterator[None]:
    """Print log lines by another function while the block lasts, such as one that prints above a progress bar."""
    before, _HANDLER.write = _HANDLER.write, write
    try:
        yield
    finally:
        _HANDLER.write = before


def level_of(options: Any) -> int:
    """Return the logging level that `--verbose` or `--quiet` asks for."""
    if getattr(options, "verbose", False):
        return logging.DEBUG
    return logging.WARNING if getattr(options, "quiet", False) else logging.INFO
