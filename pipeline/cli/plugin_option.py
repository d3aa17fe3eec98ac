"""The option `--plugin`, the same for every command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def add_plugin_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option to a parser and to its sub-commands; `plugins_named_in` reads it."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE_OR_PACKAGE",
        help="run this Python code first, which adds modules, sweeps, ... (docs/extending.md)",
    )
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                add_plugin_argument(below)


def plugins_named_in(arguments: Sequence[str]) -> list[str]:
    """Return the plugins that a command line names, before its parser is built: its choices may be theirs."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_plugin_argument(parser)
    named: list[str] = parser.parse_known_args(arguments)[0].plugin
    return named
