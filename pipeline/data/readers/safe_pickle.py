"""Read a pickle from the internet as data: plain containers, strings and numbers; anything else is refused by name.

A pickle is a program. Every way to code goes through a named global (`find_class`), so refusing all of them leaves
lists, dicts, tuples, sets, strings, bytes, numbers, True, False and None. Before that, `pickle_size` bounds what the
data can ask for.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from pipeline.data.readers.pickle_size import PickleBombError, check_size
from sharedris.errors import InputError
from sharedris.regular_file import read_regular

MAX_BYTES = 1 << 30


class _RefusedGlobalError(Exception):
    """A pickle named something that is not plain data."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise _RefusedGlobalError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedGlobalError("a persistent id")


def load_plain_pickle(path: Path) -> Any:
    """Return the plain data of a pickle of protocol 0 to 5; Python 2 strings are read as UTF-8, else Latin-1.

    Raises:
        InputError: when the file is missing, too large, damaged, expands out of proportion, or names anything but
            plain data. Nothing that it names is imported or run.
    """
    content = read_regular(Path(path), most_bytes=MAX_BYTES)
    return parse_plain_pickle(content, name=str(path))


def parse_plain_pickle(content: bytes, *, name: str) -> Any:
    """Return the plain data of a pickle in memory; see `load_plain_pickle`."""
    try:
        check_size(content)
        return _load(content)
    except _RefusedGlobalError as refused:
        raise InputError(
            f"{name} is refused: it names {refused}, which is not plain data, and nothing of it was run",
            "Get the annotations from their official source",
        ) from None
    except PickleBombError as error:
        raise InputError(f"{name} is refused: {error}", "Get the annotations from their official source") from None
    except Exception as error:  # a damaged pickle raises nearly any type, by design of the format
        raise InputError(f"{name} is not a readable pickle: {error}", "Download it again") from None


def _load(content: bytes) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    except UnicodeDecodeError:  # strings that Python 2 wrote
        return _PlainUnpickler(io.BytesIO(content), encoding="latin-1").load()
