"""Numbers and texts as other tools write them."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.readers.annotations import check_file_name, clean_expression
from pipeline.data.readers.field_values import finite_numbers, shown, whole_number


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        (7.0, 7),
        ("7", 7),
        (" 7 ", 7),
        ("7.0", 7),
        ("-7.00", -7),
        (2.0**53, 2**53),
        (2**63 - 1, 2**63 - 1),
        (str(-(2**63)), -(2**63)),
    ],
)
def test_whole_numbers_are_read(value: Any, expected: int) -> None:
    assert whole_number(value, "id") == expected


@pytest.mark.parametrize(
    "value",
    [
        7.5,
        2.0**53 + 2,
        "7.5",
        "seven",
        "",
        None,
        True,
        [7],
        {},
        float("nan"),
        float("inf"),
        2**63,
        str(2**63),
        pytest.param(10**6000, id="6,000 digits"),
        pytest.param("9" * 6000, id="as text"),
    ],
)
def test_what_is_no_whole_number_is_refused_by_field(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^id is .*(not a whole number|does not fit 64 bits)$") as caught:
        whole_number(value, "id")
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("value", [None, [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, True], [1, 2, 3, float("inf")], "1234"])
def test_a_box_is_four_finite_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="^bbox is .*not 4 "):
        finite_numbers(value, "bbox", count=4)


def test_terminal_codes_do_not_pass_a_message() -> None:
    assert shown("\x1b[31mred\x07") == r"'\x1b[31mred\x07'"
    assert shown(10**5000) == "a number of thousands of digits"


def test_halves_of_a_character_are_joined_and_lone_ones_refused() -> None:
    assert clean_expression("a \ud83d\ude00 face") == "a \U0001f600 face"
    assert check_file_name("\ud83d\ude00.png") == "\U0001f600.png"
    for half in ("\ud83d red", "red \ude00"):
        with pytest.raises(ValueError, match="holds half of a character"):
            clean_expression(half)
    with pytest.raises(ValueError, match="holds half of a character"):
        check_file_name("caf\udce9.png")
