"""`sharedris completion`: the script with which bash or zsh completes commands and options."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Literal

import tyro
from tyro.extras import SubcommandApp

from pipeline.cli.commands import COMMANDS, DEFAULTS, GROUPS, Path, below
from pipeline.cli.common_options import CommonOptions
from pipeline.cli.parsing import options_module
from sharedris.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The shell."""

    shell: tyro.conf.Positional[Literal["bash", "zsh"]]
    """source <(sharedris completion bash) in ~/.bashrc completes in each new shell."""


def run(options: Options) -> int:
    """Print the script."""
    print(completion_script(options.shell))
    return 0


def completion_script(shell: str) -> str:
    """Return the script, made from the options of every command whose packages are installed."""
    words = ["--tyro-print-completion", shell]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        _app(()).cli(prog="sharedris", args=words)
    return printed.getvalue()


def _app(path: Path) -> SubcommandApp:
    """Return the commands below a path, as tyro's own tree of sub-commands."""
    app = SubcommandApp()
    for name in dict.fromkeys(each[len(path)] for each in below(path)):
        longer = (*path, name)
        if longer not in COMMANDS:
            app.command(_app(longer), name=name, help=GROUPS[longer])
            continue
        try:
            options_class = options_module(longer).Options
        except InputError:  # its packages are not installed
            continue
        default = DEFAULTS.get(path) == longer
        app.command(options_class, name=name, help=COMMANDS[longer].help, is_default=default)
    return app
