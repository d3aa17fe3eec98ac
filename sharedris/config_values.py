"""Config values from outside are what the annotation of their field says: checked by pydantic, not converted.

A command line, a config file, a model folder and a record all bring JSON values. `"False"` is not a bool, `1.5` is not
an int and `"Constant"` is not one of `Literal["cosine", "constant"]`. The only change made is that a list becomes the
tuple that the annotation names.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Iterable
from typing import Any

from sharedris.errors import require_field

_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_MOST_CHARACTERS = 100
_INT64 = 2**63


def checked_value(annotation: Any, value: Any, field: str) -> Any:
    """Return the value of one field, with lists as tuples where the annotation is a tuple.

    Args:
        annotation: resolved type of the field (`tuple[int, ...]`, `float`, `Literal["a", "b"]`, `int | None`, ...).
        value: a JSON value, or an object that a caller in Python has built.
        field: dotted name, for the message.

    Raises:
        ValueError: when the value is not of that type, or a number is not finite or beyond 64 bits; the message names
            the field.
    """
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        require_field(isinstance(value, annotation), field, f"must be a {annotation.__name__}, not {_shown(value)}")
        return value
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{field}: {_shown(value)} is not a finite number, text, list or bool") from None
    from pydantic import ValidationError  # here: the import takes a tenth of a second

    try:
        valid = _adapter(annotation).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{field}: {_shown(value)} is refused: {first['msg']}") from None
    return _with_tuples(value, valid, field)


def _with_tuples(value: Any, valid: Any, field: str) -> Any:
    """Return the given value with tuples where the valid one has them.

    An int stays an int in a float field: the run's id is a hash over the text of its config, and runs of the version
    before this check keep their ids.
    """
    if isinstance(valid, tuple):
        return tuple(_with_tuples(*pair, field) for pair in zip(value, valid, strict=True))
    fits = not isinstance(valid, int) or abs(valid) < _INT64
    require_field(fits, field, f"{_shown(value)} does not fit the 64 bits of a record")
    return value


@functools.cache
def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python converts
        text = "a number of thousands of digits"
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}... ({len(text)} characters)"


def require_component(name: str, field: str) -> None:
    """Check that a name is one safe component of a path: it becomes part of folder names.

    Raises:
        ValueError: for separators, a leading dot or dash, control characters, or an empty or long name.
    """
    good = isinstance(name, str) and _COMPONENT.fullmatch(name) is not None and len(name) <= _MOST_CHARACTERS
    require_field(
        good, field, f"{_shown(name)} must be letters, digits and . _ + - only, and begin with one of the first"
    )


def require_positive(field: str, **values: float) -> None:
    """Check that every value is above zero.

    Raises:
        ValueError: naming the field.
    """
    for name, value in values.items():
        require_field(value > 0, f"{field}.{name}", f"must be above 0, not {_shown(value)}")


def require_not_negative(field: str, **values: float) -> None:
    """Check that every value is zero or more, and finite.

    Raises:
        ValueError: naming the field.
    """
    for name, value in values.items():
        require_field(0 <= value < math.inf, f"{field}.{name}", f"must be 0 or more, not {_shown(value)}")


def require_distinct(values: Iterable[str], field: str) -> None:
    """Check that no name stands twice.

    Raises:
        ValueError: naming the field and the name.
    """
    seen: set[str] = set()
    for name in values:
        require_field(name not in seen, field, f"{_shown(name)} stands there twice")
        seen.add(name)
