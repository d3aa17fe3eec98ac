"""Numbers and texts of annotation files: what other tools write for a whole number is read, the rest is refused."""

from __future__ import annotations

import math
import re
from typing import Any

_INT64 = 2**63
_EXACT_FLOATS = 2**53
"""A larger float stands for several whole numbers: an id may have become another one in the tool that wrote it."""
_WHOLE = re.compile(r"\s*([-+]?\d{1,19})(?:\.0+)?\s*")  # pandas writes 1.0 where a column of numbers has a gap
_SHOWN_CHARACTERS = 60


def shown(value: Any) -> str:
    """Return a value for a message: short, and with nothing that a terminal obeys."""
    try:
        text = ascii(value)
    except ValueError:  # an integer of more digits than Python converts
        text = "a number of thousands of digits"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters)"


def whole_number(value: Any, field: str) -> int:
    """Return a whole number of 64 bits, from an integer, from 1.0, or from either as text.

    Raises:
        ValueError: naming the field and what was found.
    """
    number: Any = value
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value)):
        number = int(match[1])
    elif isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_FLOATS:
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{field} is {shown(value)}, not a whole number")
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"{field} is {shown(value)}, which does not fit 64 bits")
    return number


def finite_numbers(value: Any, field: str, *, count: int) -> tuple[float, ...]:
    """Return `count` finite numbers.

    Raises:
        ValueError: naming the field and what was found.
    """
    if not isinstance(value, list | tuple) or len(value) != count:
        raise ValueError(f"{field} is {shown(value)}, not {count} numbers")
    if not all(isinstance(entry, int | float) and not isinstance(entry, bool) for entry in value):
        raise ValueError(f"{field} is {shown(value)}, not {count} numbers")
    try:
        numbers = tuple(float(entry) for entry in value)
    except OverflowError:
        numbers = (math.inf,)
    if not all(math.isfinite(entry) for entry in numbers):
        raise ValueError(f"{field} is {shown(value)}, not {count} finite numbers")
    return numbers


def joined_surrogates(text: str, field: str) -> str:
    """Return a text with the halves of each character joined, as narrow builds of Python 2 and JSON write them.

    Raises:
        ValueError: for half a character, which no file can hold as UTF-8.
    """
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        pass
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise ValueError(f"{field} {shown(text)} holds half of a character (a lone surrogate)") from None
