"""Reads the words of a command line into the command's dataclass, by tyro: a field is an option with its docstring."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeVar

from pipeline.cli.commands import COMMANDS, Path
from sharedris.errors import InputError

T = TypeVar("T")
_WHOLE = re.compile(r"-?\d{1,18}")


def command_module(path: Path) -> ModuleType:
    """Import the code of a command.

    Raises:
        InputError: where a package is missing that comes with an extra.
    """
    command = COMMANDS[path]
    try:
        return importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if not command.extra or (error.name or "").partition(".")[0] in {"sharedris", "pipeline", "sweeps", "reports"}:
            raise
        remedy = f"Install it: pip install 'shared-ris[{command.extra}]'"
        raise InputError(f"sharedris {' '.join(path)} needs the package {error.name}", remedy) from None


def parse(path: Path, words: Sequence[str]) -> tuple[ModuleType, Any]:
    """Return the command's module and its options.

    Raises:
        SystemExit: 0 after `--help`, 2 for words that are no options of the command; tyro prints why.
        InputError: where starting values cannot be read.
    """
    module = command_module(path)
    find_starting = getattr(module, "starting_options", None)
    starting = find_starting(words) if find_starting else None
    program = " ".join(("sharedris", *path))
    return module, read_options(
        module.Options, words, program=program, description=_description(path), starting=starting
    )


def read_options(
    options_class: type[T], words: Sequence[str], *, starting: T | None = None, program: str = "", description: str = ""
) -> T:
    """Return the options that the words describe; what they leave out is that of `starting`.

    Raises:
        SystemExit: 0 after `--help`, 2 for words that are no options; tyro prints why.
    """
    import tyro

    options: T = tyro.cli(
        options_class,
        prog=program,
        description=description,
        args=list(words),
        default=starting,
        registry=_number_registry(),
    )
    return options


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
