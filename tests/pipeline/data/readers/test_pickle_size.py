"""Pickles that are small in the file and large in memory or time are refused before anything of them is made."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.readers.pickle_size import MAX_DEPTH, PickleBombError, check_size
from pipeline.data.readers.safe_pickle import parse_plain_pickle
from sharedris.errors import InputError

LEVELS = 60


def doubled(first: bytes, pair: bytes) -> bytes:
    """Opcodes that make LEVELS values, each of which holds the one before twice."""
    code = first + b"q\x00"
    for level in range(LEVELS):
        code += pair.replace(b"#", bytes([ord("h"), level])) + bytes([ord("q"), level + 1])
    return code


def filled_from_the_top(before_growth: bytes) -> bytes:
    """Opcodes of empty lists that are filled afterwards, so that each is small when it is used."""
    code = b"".join(b"]" + bytes([ord("q"), level]) for level in range(LEVELS))
    for level in range(1, LEVELS):
        child = bytes([ord("h"), level - 1])
        code += bytes([ord("h"), level]) + before_growth + child + b"a" + child + b"a"
    return code + b"."


TUPLES = doubled(b")", b"##\x86")
BOMBS = {
    "a tuple as key": b"}" + TUPLES + b"K\x01s.",
    "a tuple in a set": b"\x8f(" + TUPLES + b"\x90.",
    "a frozenset": b"(" + TUPLES + b"\x91.",
    "lists": doubled(b"]", b"](##e") + b".",
    "dicts": doubled(b"}", b"}(K\x01#K\x02#u") + b".",
    "duplicates": b")" + b"2\x86" * LEVELS + b".",
    "lists filled from the top": filled_from_the_top(b""),
    "lists filled after a BUILD": filled_from_the_top(b"Nb"),
    "a long text used often": b"]X\x00\x00\x10\x00" + b"a" * (1 << 20) + b"q\x00a(" + b"h\x00" * 200_000 + b"e.",
    "a long number used often": b"]\x8b\x00\x00\x10\x00" + b"a" * (1 << 20) + b"q\x00a(" + b"h\x00" * 200_000 + b"e.",
    "deep lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples": b")" + b"\x85" * 100_000 + b".",
    "deep tuples of a mark": b"(" * 100_000 + b"t" * 100_000 + b".",
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_at_once(content: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"expand out of proportion|grows after it was used|nests more than"):
        parse_plain_pickle(content, name="refs.p")
    assert time.perf_counter() - started < 10


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(PickleBombError, match="holds itself"):
        check_size(pickle.dumps(endless))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.", "do not fit together"),
        (b"h\x07.", "do not fit together"),
        (b"K\x01K\x02a.", "do not fit together"),
        (b"]p99\n.", "memo index 99 is out of proportion"),
    ],
)
def test_opcodes_that_do_not_fit_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(PickleBombError, match=message):
        check_size(content)


@given(
    value=st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner) | st.tuples(inner), max_leaves=20),
    times=st.integers(2, 50),
    protocol=st.integers(0, 5),
)
def test_values_that_are_used_again_are_read(value: Any, times: int, protocol: int) -> None:
    data = [value] * times + [{"ref": value, "again": [value, (value, value)]}]
    assert parse_plain_pickle(pickle.dumps(data, protocol), name="x") == data


@pytest.mark.parametrize("protocol", range(6))
def test_nesting_up_to_the_limit_is_read(protocol: int) -> None:
    value: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert parse_plain_pickle(pickle.dumps(value, protocol), name="x") == value
    with pytest.raises(PickleBombError, match=f"more than {MAX_DEPTH} deep"):
        check_size(pickle.dumps([value], protocol))


@pytest.mark.parametrize("opcode", [b"S'caf\\xc3\\xa9'\n", b"U\x05caf\xc3\xa9", b"T\x05\x00\x00\x00caf\xc3\xa9"])
def test_python_2_strings_are_walked(opcode: bytes) -> None:
    assert parse_plain_pickle(b"(" + opcode + b"p0\ng0\nlp1\n.", name="x") == ["café", "café"]


def colliding_tuples(bits: int) -> list[tuple[int, ...]]:
    """All tuples of -1 and -2: different values of one hash."""
    return [tuple(-1 if number >> bit & 1 else -2 for bit in range(bits)) for number in range(1 << bits)]


PRIME = 2**61 - 1
ONE_HASH: dict[str, Any] = {
    "tuples as keys": dict.fromkeys(colliding_tuples(11)),
    "tuples in a set": frozenset(colliding_tuples(11)),
    "long numbers as keys": dict.fromkeys(number * PRIME for number in range(1, 3000)),
    "long numbers in a set": {number * PRIME for number in range(1, 3000)},
}


@pytest.mark.parametrize("name", list(ONE_HASH))
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_keys_of_one_hash_are_refused(name: str, protocol: int) -> None:
    expected = (
        "not a string or a number|more than 60 bits|which is not plain data"  # old protocols call set by its name
    )
    with pytest.raises(InputError, match=expected):
        parse_plain_pickle(pickle.dumps(ONE_HASH[name], protocol=protocol), name="refs.p")
