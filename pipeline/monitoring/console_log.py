"""Log lines on the terminal: what a command prints while it runs, and how a progress bar stays below them."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Callable, Iterator

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


def add_verbosity_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--verbose` and `--quiet` to a parser and to its sub-commands."""
    group = parser.add_mutually_exclusive_group()
    # No default: a sub-command's default would replace what was given before its name.
    none = argparse.SUPPRESS
    group.add_argument("--verbose", action="store_true", default=none, help="print debug lines too")
    group.add_argument("--quiet", action="store_true", default=none, help="print only warnings and results")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                add_verbosity_arguments(below)


def level_of(args: argparse.Namespace) -> int:
    """Return the logging level that `--verbose` or `--quiet` asks for."""
    if getattr(args, "verbose", False):
        return logging.DEBUG
    return logging.WARNING if getattr(args, "quiet", False) else logging.INFO
