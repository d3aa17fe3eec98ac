"""Reads the words of a command line into the command's dataclass, by tyro: a field is an option with its docstring."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, TypeVar, cast

from pipeline.cli.commands import COMMANDS, Path
from sharedris.errors import InputError

T = TypeVar("T")
_WHOLE = re.compile(r"-?\d{1,18}")


def options_module(path: Path) -> ModuleType:
    """Import the module that has the options of a command.

    Raises:
        InputError: where a package is missing that comes with an extra.
    """
    command = COMMANDS[path]
    return _imported(path, f"{command.module}_options" if command.apart else command.module)


def command_module(path: Path) -> ModuleType:
    """Import the code of a command.

    Raises:
        InputError: where a package is missing that comes with an extra.
    """
    return _imported(path, COMMANDS[path].module)


def _imported(path: Path, module: str) -> ModuleType:
    with packages_of(path):
        return importlib.import_module(module)


@contextlib.contextmanager
def packages_of(path: Path) -> Iterator[None]:
    """Turn a package that is not installed into one line that names the extra of the command.

    Raises:
        InputError: in the place of `ModuleNotFoundError`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = COMMANDS[path].extra
        if not extra or (error.name or "").partition(".")[0] in {"sharedris", "pipeline", "sweeps", "reports"}:
            raise
        remedy = f"In the clone: pip install '.[{extra}]'"
        raise InputError(f"sharedris {' '.join(path)} needs the package {error.name}", remedy) from None


def parse(path: Path, words: Sequence[str]) -> Any:
    """Return the command's options.

    Raises:
        SystemExit: 0 after `--help`.
        InputError: for words that are no options of the command, and where starting values cannot be read.
    """
    module = options_module(path)
    find_starting = getattr(module, "starting_options", None)
    starting = find_starting(words) if find_starting else None
    program = " ".join(("sharedris", *path))
    return read_options(module.Options, words, program=program, description=_description(path), starting=starting)


def read_options(
    options_class: type[T], words: Sequence[str], *, starting: T | None = None, program: str = "", description: str = ""
) -> T:
    """Return the options that the words describe; what they leave out is that of `starting`.

    Raises:
        SystemExit: 0 after `--help`.
        InputError: for words that are no options of the command, or no values of them.
    """
    import tyro

    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            options = tyro.cli(
                options_class,
                prog=program,
                description=description,
                args=list(words),
                default=starting,
                registry=_number_registry(),
            )
    except SystemExit as ended:
        if not ended.code:
            raise
        raise _in_one_line(printed.getvalue(), program) from None
    except InputError:
        raise
    except ValueError as error:  # of the outermost config: tyro puts those of the inner ones into its box
        raise InputError(str(error), f"{program} --help shows the options") from None
    return cast(T, options)


def _in_one_line(text: str, program: str) -> InputError:
    """Return the error that tyro printed in a box: of lines, or without UTF-8 of spaces, below its title."""
    lines = [line.strip("│").rstrip() for line in text.splitlines() if not line.startswith(("╭", "╰"))]
    parts = [list(part) for is_rule, part in itertools.groupby(lines, _is_rule) if not is_rule]
    found = parts[0] if text.startswith("╭") else parts[1]
    message = " ".join(line.strip() for line in found).partition(" Got errors:")[0].rstrip(". ")
    remedy = f"{program} --help shows the options" if program else ""
    wrong = re.search(r"--[\w.-]+", message)
    proposed = [line for line in lines if re.match(r" {4,6}--", line)]
    spellings = [spelling for line in proposed for spelling in re.findall(r"--[\w.-]+", line)]
    if message.startswith("Unrecognized") and wrong and spellings:
        nearest = difflib.get_close_matches(wrong[0], spellings, n=2, cutoff=0.5) or spellings[:2]
        remedy = f"Did you mean {' or '.join(nearest)}? {remedy}"
    return InputError(f"{message[0].lower()}{message[1:]}", remedy)


def _is_rule(line: str) -> bool:
    return bool(line.strip()) and not line.strip(" -─")


@functools.cache
def _number_registry() -> Any:
    """Return how a number is read: as JSON reads it, so that `1` stays an integer where a float is wanted.

    A run's id is a hash over the text of its config, where 1 and 1.0 differ: runs keep the ids that `--set` gave them.
    """
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def _(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[float] | None:
        if info.type is not float:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="FLOAT",
            instance_from_str=lambda words: int(words[0]) if _WHOLE.fullmatch(words[0]) else float(words[0]),
            is_instance=lambda value: isinstance(value, float | int) and not isinstance(value, bool),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _description(path: Path) -> str:
    text = COMMANDS[path].help
    return f"{text[0].upper()}{text[1:]}."
