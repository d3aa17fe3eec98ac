"""A damaged table counts as missing; one that is whole, or of which nothing is known, is not written over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest

from pipeline.intact_tables import is_intact, warn_if_damaged
from pipeline.records import COST_SCHEMA, HISTORY_SCHEMA, read_table, write_table
from tests.damage import DAMAGES


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A small intact table."""
    columns = {name: [1] for name in COST_SCHEMA.names[1:]}
    for name in ("variant", "scale", "component"):
        columns[name] = ["x"]  # type: ignore[list-item]
    write_table(tmp_path / "costs.parquet", pd.DataFrame(columns), COST_SCHEMA)
    return tmp_path / "costs.parquet"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_table_counts_as_missing_until_it_is_replaced(
    damage: Callable[[bytes], bytes], table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert is_intact(table, COST_SCHEMA)
    whole = table.read_bytes()
    table.write_bytes(damage(whole))
    assert not is_intact(table, COST_SCHEMA)
    for _ in range(3):
        warn_if_damaged(table, COST_SCHEMA)
    (line,) = caplog.messages
    assert str(table) in line
    assert "counts as missing, and the next run replaces it" in line
    table.unlink()
    table.write_bytes(whole)
    assert is_intact(table, COST_SCHEMA)


def test_a_missing_table_is_not_reported_as_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not is_intact(tmp_path / "none", COST_SCHEMA)
    warn_if_damaged(tmp_path / "none", COST_SCHEMA)
    assert not caplog.messages


def test_what_may_be_whole_is_not_repeated(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert is_intact(table, HISTORY_SCHEMA)  # another kind of table
    with patch.object(Path, "read_bytes", side_effect=PermissionError(13, "Permission denied")):
        table.touch()
        assert is_intact(table, COST_SCHEMA)
    newer = table.with_name("newer.parquet")
    pd.DataFrame({"schema_version": [99]}).to_parquet(newer)
    assert is_intact(newer, COST_SCHEMA)
    assert not caplog.messages


def test_a_file_is_read_once_while_it_does_not_change(table: Path) -> None:
    with patch("pipeline.intact_tables.read_table", side_effect=read_table) as reading:
        assert all(is_intact(table, COST_SCHEMA) for _ in range(5))
    assert reading.call_count == 1
