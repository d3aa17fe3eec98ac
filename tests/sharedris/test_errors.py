"""Messages are one line that does nothing to a terminal, whatever they quote."""

from __future__ import annotations

import sys

import pytest
from torch._utils import ExceptionWrapper

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


@pytest.mark.parametrize("message", ["a.jpg: it has changed", "two\nlines"])
def test_an_error_of_a_loader_process_comes_without_its_trace(message: str) -> None:
    try:
        raise InputError(message, "Restore it")
    except InputError:
        wrapped = ExceptionWrapper(sys.exc_info(), where="in DataLoader worker process 0")
    with pytest.raises(InputError) as caught:
        wrapped.reraise()
    assert str(caught.value) == f"{printable(message)}. Restore it"
