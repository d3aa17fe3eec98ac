"""Read a large JSON object piece by piece, so that a 300 MB instances.json is never in memory as objects."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.data.readers.field_values import shown
from sharedris.errors import InputError
from sharedris.regular_file import open_regular

_CHUNK_CHARACTERS = 4 << 20
_LONGEST_VALUE = 64 << 20  # characters of an entry, or of a top-level value that is not a list
_LONGEST_WORD = len("-Infinity")
_WHITE = " \t\r\n"


def iterate_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (key, element) for each element of each top-level list, and (key, value) for other top-level values.

    Raises:
        InputError: when the file cannot be read, is not JSON, or is not an object.
    """
    yield from _walk(path, lambda walker: walker.members())


def iterate_elements(path: Path) -> Iterator[Any]:
    """Yield each element of a file that is one JSON list.

    Raises:
        InputError: when the file cannot be read, is not JSON, or is not a list.
    """
    yield from _walk(path, lambda walker: walker.only_list())


def iterate_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield ("", element) for each element of a file that is one list, else as `iterate_members`.

    Raises:
        InputError: when the file cannot be read, is not JSON, or is neither a list nor an object.
    """
    yield from _walk(path, lambda walker: walker.records())


def _walk(path: Path, read: Callable[[_Walker], Iterator[Any]]) -> Iterator[Any]:
    try:
        with open_regular(Path(path)) as binary, io.TextIOWrapper(binary, encoding="utf-8") as stream:
            yield from read(_Walker(stream))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Check the path") from None
    except (ValueError, RecursionError) as error:  # also for a number of more digits than Python converts
        text = str(error).splitlines()[0]
        raise InputError(f"{path} is not readable JSON: {text}", "Download or write it again") from None


class _SyntaxError(ValueError):
    pass


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; a hook for `json`, which would keep the last of several values.

    Raises:
        ValueError: when a key occurs twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        counted = Counter(key for key, _ in pairs)
        raise _SyntaxError(_twice(counted.most_common(1)[0][0]))
    return values


def _twice(key: str) -> str:
    return f"the key {shown(key)} occurs twice in one object"


class _Walker:
    """A cursor over a text that is read in chunks."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.text = ""
        self.at = 0
        self.ended = False
        self.decode = json.JSONDecoder(object_pairs_hook=unique_keys).raw_decode

    def only_list(self) -> Iterator[Any]:
        self.skip_byte_order_mark()
        yield from self.elements()
        if self.peek():
            raise _SyntaxError("text after the end of the list")

    def records(self) -> Iterator[tuple[str, Any]]:
        self.skip_byte_order_mark()
        yield from (("", element) for element in self.only_list()) if self.peek() == "[" else self.members()

    def members(self) -> Iterator[tuple[str, Any]]:
        self.skip_byte_order_mark()
        self.take("{")
        keys: set[str] = set()
        while self.peek() != "}":
            key = self.value()
            if not isinstance(key, str):
                raise _SyntaxError("a key is not a string")
            if key in keys:
                raise _SyntaxError(_twice(key))
            keys.add(key)
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
            except json.JSONDecodeError as error:
                # Only a value that is cut off at the end of the text may be whole with more of the file.
                wrong_at_once = error.msg == "Expecting value" and error.pos + _LONGEST_WORD <= len(self.text)
                if self.ended or wrong_at_once:
                    raise
                self.require_not_too_long()
                # Twice as much each time, so that a value of n characters is parsed log(n) times, not n times.
                self.refill(len(self.text) - self.at)
                continue
            # A number at the end of the text may go on in the next chunk: "0" as "0.5", "1" as "1e+3".
            if len(self.text) - end < len("e+1") and not self.ended and self.text[end - 1] not in '}]"':
                self.refill()
                continue
            self.at = end
            return value

    def skip_byte_order_mark(self) -> None:
        if self.peek() == "\ufeff":
            self.at += 1

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

    def require_not_too_long(self) -> None:
        if len(self.text) - self.at > _LONGEST_VALUE:
            raise _SyntaxError(f"one value has more than {_LONGEST_VALUE} characters")

    def refill(self, least: int = 0) -> None:
        chunk = self.stream.read(max(least, _CHUNK_CHARACTERS))
        self.ended = not chunk
        self.text = self.text[self.at :] + chunk
        self.at = 0
