"""The streaming reader says what json.load says, wherever a chunk happens to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.readers import json_stream
from pipeline.data.readers.json_stream import iterate_members
from sharedris.errors import InputError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def members(document: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in document.items():
        pairs += [(key, element) for element in value] if isinstance(value, list) else [(key, value)]
    return pairs


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.dictionaries(st.text(max_size=6), values, max_size=6),
    chunk=st.integers(1, 40),
    indent=st.none() | st.just(2),
)
def test_same_as_json(
    document: dict[str, Any], chunk: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK_CHARACTERS", chunk)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document, indent=indent), encoding="utf-8")
    assert list(iterate_members(path)) == members(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{",
        '{"a": [1, 2',
        '{"a": [1,, 2]}',
        '{"a" 1}',
        '{"a": 1} x',
        "{1: 2}",
        '{"a": [1,]}',
        "{'a': 1}",
        '{"a": ' + "[" * 100_000 + "}",
        '{"a": [1], "b": 2, "a": [3]}',
        '{"images": [{"id": 1, "height": 2, "height": 3}]}',
    ],
)
def test_broken_json_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not readable JSON") as caught:
        list(iterate_members(path))
    assert "\n" not in str(caught.value)
