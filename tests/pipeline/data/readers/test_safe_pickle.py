"""Pickles from the internet: plain data of every protocol is read, anything else is refused and nothing of it runs."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.readers.safe_pickle import load_plain_pickle, parse_plain_pickle
from sharedris.errors import InputError

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=40,
)


@given(value=plain, protocol=st.integers(0, 5))
def test_plain_data_of_every_protocol_is_read(value: Any, protocol: int) -> None:
    assert parse_plain_pickle(pickle.dumps(value, protocol), name="x") == value


@given(
    value=st.recursive(st.binary() | st.sets(st.integers()), st.lists, max_leaves=8), protocol=st.sampled_from([4, 5])
)
def test_bytes_and_sets_are_read_where_the_format_knows_them(value: Any, protocol: int) -> None:
    assert parse_plain_pickle(pickle.dumps(value, protocol), name="x") == value


def test_long_lists_and_strings_are_walked() -> None:
    value = [{"r" * 300: list(range(3000)), "é\n": "\x00r\xff" * 90_000}, 10**400]
    for protocol in range(6):
        assert parse_plain_pickle(pickle.dumps(value, protocol), name="x") == value


def test_python_2_strings_are_read_as_utf8_or_latin1() -> None:
    assert parse_plain_pickle(b"S'caf\\xc3\\xa9'\n.", name="x") == "café"
    assert parse_plain_pickle(b"U\x04caf\xe9.", name="x") == "café"


class _Touches:
    """Would create a file if anything of it ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_by_name_and_does_not_run(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "hostile.p"
    path.write_bytes(pickle.dumps([{"split": "val"}, _Touches(tmp_path / "ran")], protocol))
    with pytest.raises(InputError, match=r"pathlib|getattr") as caught:
        load_plain_pickle(path)
    assert "nothing of it was run" in caught.value.message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "builtins.eval"),
        (pickle.dumps(collections.OrderedDict(a=1)), "collections.OrderedDict"),
        (b"Pname\n.", "persistent id"),
    ],
)
def test_each_way_to_a_global_is_refused(content: bytes, name: str) -> None:
    with pytest.raises(InputError, match=name):
        parse_plain_pickle(content, name="x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>not found</html>",
        pickle.dumps([{"a": list(range(999))}], 2)[:-9],
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a memo index that would take 32 GB
        b"(lp4294967295\n.",
        b"X\xff\xff\xff\x7fa.",
        b"\x96" + b"\xff" * 7 + b"\x7f.",
        b"\x82\x01.",
        b"]" + b"(" * 100_000,
    ],
)
def test_damaged_and_oversized_pickles_are_one_line(content: bytes) -> None:
    with pytest.raises(InputError) as caught:
        parse_plain_pickle(content, name="refs.p")
    assert "\n" not in str(caught.value)


def test_missing_file_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.p cannot be read"):
        load_plain_pickle(tmp_path / "none.p")
