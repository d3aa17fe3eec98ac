"""Record files: whole or not there, exactly the schema's columns, another version refused by name."""

from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import records
from pipeline.records import HISTORY_SCHEMA, RecordError, read_table, write_table


def history(epochs: int = 2) -> pd.DataFrame:
    columns = [name for name in HISTORY_SCHEMA.names if name != "schema_version"]
    return pd.DataFrame([dict.fromkeys(columns, float(epoch)) for epoch in range(1, epochs + 1)])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = records.history_path(tmp_path, "run")
    write_table(path, history(), HISTORY_SCHEMA)
    rows = read_table(path, HISTORY_SCHEMA)
    assert rows["epoch"].tolist() == [1, 2]
    assert rows["schema_version"].tolist() == [records.SCHEMA_VERSION] * 2
    assert pd.read_parquet(path).equals(rows), "one line of pandas reads it"


def test_columns_must_be_those_of_the_schema(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="loss"):
        write_table(tmp_path / "x.parquet", history().drop(columns="loss"), HISTORY_SCHEMA)
    with pytest.raises(RecordError, match="extra"):
        write_table(tmp_path / "x.parquet", history().assign(extra=1), HISTORY_SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_leaves_the_file_before_it(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_table(path, history(1), HISTORY_SCHEMA)
    with patch("pipeline.files.os.fsync", side_effect=OSError("full")), pytest.raises(OSError, match="full"):
        write_table(path, history(2), HISTORY_SCHEMA)
    assert len(read_table(path, HISTORY_SCHEMA)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize("damage", ["missing", "truncated", "other version", "no version"])
def test_a_file_that_cannot_be_trusted_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.parquet"
    if damage != "missing":
        write_table(path, history(), HISTORY_SCHEMA)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:50])
    elif damage == "other version":
        pq.write_table(pa.Table.from_pandas(history().assign(schema_version=99)), path)
    elif damage == "no version":
        pq.write_table(pa.Table.from_pandas(history()), path)
    with pytest.raises(RecordError, match=r"x\.parquet"):
        read_table(path, HISTORY_SCHEMA)


def test_two_variants_never_share_a_cost_file(tmp_path: Path) -> None:
    from sharedris.scales import SCALES
    from sweeps.costs import paper_models
    from sweeps.registry import SWEEPS

    paths = [records.cost_path(tmp_path, model.scale, model.variant) for model in paper_models(SWEEPS["all"])]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path / "costs" / "base") for path in paths)
    assert "base" in SCALES
