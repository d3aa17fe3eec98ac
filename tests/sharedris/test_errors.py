"""Messages are one line that does nothing to a terminal, whatever they quote."""

from __future__ import annotations

import pytest

from pipeline.data.readers.annotations import Problem
from sharedris.errors import InputError, printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("half \udcff", "half \\udcff"),
        ("\u202eturned", "\\u202eturned"),  # turns the direction of what follows
        ("\x9b2J\x07", "\\x9b2J\\x07"),
        ("café 图", "café 图"),
    ],
)
def test_what_a_terminal_obeys_is_an_escape(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert str(InputError(text, text)) == f"{expected}. {expected}"
    assert str(Problem(kind="k", where=text, message="m")) == f"{expected}: m"
