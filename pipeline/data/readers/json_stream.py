"""Read a large JSON object piece by piece, so that a 300 MB instances.json is never in memory as objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sharedris.errors import InputError

_CHUNK_CHARACTERS = 4 << 20
_WHITE = " \t\r\n"


def iterate_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (key, element) for each element of each top-level list, and (key, value) for other top-level values.

    Raises:
        InputError: when the file cannot be read, is not JSON, or is not an object.
    """
    try:
        with Path(path).open(encoding="utf-8") as stream:
            yield from _Walker(stream).members()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Check the path") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, _SyntaxError) as error:
        text = str(error).splitlines()[0]
        raise InputError(f"{path} is not readable JSON: {text}", "Download or write it again") from None


class _SyntaxError(ValueError):
    pass


class _Walker:
    """A cursor over a text that is read in chunks."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.text = ""
        self.at = 0
        self.ended = False
        self.decode = json.JSONDecoder().raw_decode

    def members(self) -> Iterator[tuple[str, Any]]:
        if self.peek() == "\ufeff":
            self.at += 1
        self.take("{")
        while self.peek() != "}":
            key = self.value()
            if not isinstance(key, str):
                raise _SyntaxError("a key is not a string")
            self.take(":")
            if self.peek() == "[":
                yield from ((key, element) for element in self.elements())
            else:
                yield key, self.value()
            self.take_separator("}")
        self.take("}")
        if self.peek():
            raise _SyntaxError("text after the end of the object")

    def elements(self) -> Iterator[Any]:
        self.take("[")
        while self.peek() != "]":
            yield self.value()
            self.take_separator("]")
        self.take("]")

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self.decode(self.text, self.at)
            except json.JSONDecodeError:
                if self.ended:
                    raise
                self.refill()
                continue
            # A number at the end of the text may go on in the next chunk: "0" as "0.5", "1" as "1e+3".
            if len(self.text) - end < len("e+1") and not self.ended and self.text[end - 1] not in '}]"':
                self.refill()
                continue
            self.at = end
            return value

    def peek(self) -> str:
        while True:
            while self.at < len(self.text) and self.text[self.at] in _WHITE:
                self.at += 1
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.refill()

    def take(self, letter: str) -> None:
        if self.peek() != letter:
            raise _SyntaxError(f"{letter!r} expected, {self.peek() or 'the end'!r} found")
        self.at += 1

    def take_separator(self, closing: str) -> None:
        if self.peek() == ",":
            self.at += 1
            if self.peek() == closing:
                raise _SyntaxError(f"',' before {closing!r}")
        elif self.peek() != closing:
            raise _SyntaxError(f"',' or {closing!r} expected, {self.peek() or 'the end'!r} found")

    def refill(self) -> None:
        chunk = self.stream.read(_CHUNK_CHARACTERS)
        self.ended = not chunk
        self.text = self.text[self.at :] + chunk
        self.at = 0
