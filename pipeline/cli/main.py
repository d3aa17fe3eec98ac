"""The `sharedris` command: finds the command that the words name, reads its options and runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from pipeline.cli.commands import COMMANDS, GROUPS, Path, below, find_command
from pipeline.cli.guarded import run_guarded
from pipeline.cli.old_spellings import in_new_spelling
from sharedris.errors import InputError

if TYPE_CHECKING:
    from pipeline.object_store.locks import Locks

USAGE = "usage: sharedris COMMAND ... [--help]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 1 a check failed, 3 a run failed, and the codes of `pipeline.cli.guarded`.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    words, notes = in_new_spelling(given)
    name = " ".join(("sharedris", *_command_words(words)))
    return run_guarded(lambda: _run(words, notes), name=name)


def _command_words(words: Sequence[str]) -> Path:
    try:
        return find_command(words)[0]
    except InputError:
        return ()


def _run(words: Sequence[str], notes: Sequence[str]) -> int:
    path, rest = find_command(words)
    if path not in COMMANDS:
        return _about(path, rest)
    for note in notes:
        print(note, file=sys.stderr)
    from pipeline.cli.common_options import plugins_named_in
    from pipeline.cli.machine_output import only_json
    from pipeline.cli.parsing import command_module, packages_of, parse
    from pipeline.monitoring.console_log import level_of, log_to_console
    from sharedris.plugins import load_plugins

    load_plugins(plugins_named_in(rest))
    options = parse(path, rest)
    from pipeline.object_store.layout import SMALL  # after the help, which needs none of it
    from pipeline.object_store.locks import may_keep_elsewhere
    from pipeline.object_store.opened import opened_runs

    module = command_module(path)
    with (
        only_json(getattr(options, "json", False)),
        log_to_console(level_of(options)),
        packages_of(path),
        may_keep_elsewhere(_locks_on_cluster if os.environ.get("RAY_ADDRESS") else None),
        opened_runs(getattr(options, "runs", None), getattr(module, "READS", SMALL)),
    ):
        return int(module.run(options))


def _locks_on_cluster(url: str) -> AbstractContextManager[Locks]:
    from pipeline.cluster.lease_actor import leases_on_cluster  # only for a store that cannot keep them

    return leases_on_cluster(url)


def _about(path: Path, rest: Sequence[str]) -> int:
    """Print the version, or the commands of a group or of all; no command is named."""
    if not path and rest and rest[0] == "--version":
        from pipeline.cli.version import version_line

        print(version_line())
        return 0
    if rest and rest[0] not in ("-h", "--help"):
        raise InputError(f"no command before {rest[0]}", "sharedris --help lists them")
    print(_overview(path))
    return 0 if rest else 2


def _overview(path: Path) -> str:
    """Return the help of a group, or of everything: a line per command."""
    if path:
        text = GROUPS[path]
        lines = [
            f"usage: {' '.join(('sharedris', *path))} COMMAND ... [--help]",
            "",
            f"{text[0].upper()}{text[1:]}.",
            "",
        ]
    else:
        lines = [USAGE, "", "Prepare, train, measure and use Shared-RIS.", ""]
    shown = below(path)
    width = max(len(" ".join(each[len(path) :])) for each in shown) + 2
    lines += [f"  {' '.join(each[len(path) :]):<{width}}{COMMANDS[each].help}" for each in shown]
    lines += ["", "Each has --help with every default." + ("" if path else " sharedris --version prints the version.")]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
