"""Record files: whole or not there, exactly the schema's columns, another version refused by name."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import digests, records
from pipeline.records import HISTORY_SCHEMA, RecordError, read_table, write_table

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "records" / "v1"


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


def test_a_column_that_is_newer_than_the_file_reads_as_null(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_table(path, history(), HISTORY_SCHEMA)
    newer = HISTORY_SCHEMA.append(pa.field("newer", pa.float64())).append(pa.field("words", pa.string()))
    rows = read_table(path, newer)
    assert rows["newer"].isna().all()
    assert rows["words"].isna().all()
    assert rows["loss"].tolist() == [1.0, 2.0]


def test_a_column_of_a_newer_version_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_table(path, history().assign(newer=[5.0, 6.0]), HISTORY_SCHEMA.append(pa.field("newer", pa.float64())))
    assert read_table(path, HISTORY_SCHEMA)["newer"].tolist() == [5.0, 6.0]


SCHEMAS = {
    "records": records.RECORD_SCHEMA,
    "samples": records.SAMPLE_SCHEMA,
    "history": HISTORY_SCHEMA,
    "costs": records.COST_SCHEMA,
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_files_of_the_first_version_are_read(kind: str) -> None:
    (path,) = (GOLDEN / kind).rglob("*.parquet")
    assert b"sharedris.sha256" not in (pq.read_schema(path).metadata or {}), "written before files had a checksum"
    rows = read_table(path, SCHEMAS[kind])
    assert len(rows) > 0
    assert list(rows.columns) == SCHEMAS[kind].names


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_column_since_the_first_version_has_a_migration(kind: str) -> None:
    (path,) = (GOLDEN / kind).rglob("*.parquet")
    first = pq.read_schema(path)
    schema = SCHEMAS[kind]
    assert schema.names[: len(first)] == first.names, "columns keep their order: others read these files too"
    assert [schema.field(name).type for name in first.names] == first.types
    added = schema.names[len(first) :]
    assert set(added) <= set(records.MIGRATIONS), "list the value that the column has in earlier files"


def test_a_migration_gives_the_value_of_earlier_files(monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = (GOLDEN / "history").rglob("*.parquet")
    newer = HISTORY_SCHEMA.append(pa.field("workers_lost", pa.int64()))
    assert read_table(path, newer)["workers_lost"].isna().all()
    monkeypatch.setitem(records.MIGRATIONS, "workers_lost", 0)
    assert set(read_table(path, newer)["workers_lost"]) == {0}


def test_a_file_of_one_digest_is_still_verified(tmp_path: Path) -> None:
    """Version 0.2 wrote one digest of all values."""
    (path,) = (GOLDEN / "history").rglob("*.parquet")
    table = pq.read_table(path)
    whole = {b"sharedris.sha256": digests._whole_digest(table)}
    pq.write_table(table.replace_schema_metadata(whole), tmp_path / "x.parquet")
    expected = read_table(path, HISTORY_SCHEMA)
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.parquet", HISTORY_SCHEMA), expected)
    pd.testing.assert_frame_equal(
        records.read_columns(tmp_path / "x.parquet", HISTORY_SCHEMA, ["loss"]),
        expected[["schema_version", "epoch", "loss"]],
    )
    changed = table.set_column(table.column_names.index("loss"), "loss", [[9.0] * len(table)])
    pq.write_table(changed.replace_schema_metadata(whole), tmp_path / "x.parquet")
    with pytest.raises(records.DamagedTableError, match="differs from its checksum"):
        records.read_columns(tmp_path / "x.parquet", HISTORY_SCHEMA, ["seconds"])


def test_some_columns_are_verified_and_those_that_are_newer_are_null(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_table(path, history(), HISTORY_SCHEMA)
    newer = HISTORY_SCHEMA.append(pa.field("newer", pa.float64()))
    rows = records.read_columns(path, newer, ["loss", "newer"])
    assert list(rows.columns) == ["schema_version", "epoch", "loss", "newer"]
    assert rows["newer"].isna().all()
    table = pq.read_table(path)
    changed = table.set_column(table.column_names.index("loss"), "loss", [[9.0] * len(table)])
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    assert records.read_columns(path, HISTORY_SCHEMA, ["seconds"])["seconds"].tolist() == [1.0, 2.0]
    with pytest.raises(records.DamagedTableError, match="differs from its checksum"):
        records.read_columns(path, HISTORY_SCHEMA, ["loss"])


def test_a_flipped_bit_never_reads_as_another_value(tmp_path: Path) -> None:
    path, random = tmp_path / "x.parquet", np.random.default_rng(0)
    rows = pd.DataFrame({name: random.random(300) for name in HISTORY_SCHEMA.names if name != "schema_version"})
    rows = rows.assign(epoch=range(1, 301), **dict.fromkeys(("step", "samples", "skipped_steps"), 7))
    rows = rows.assign(world_size=2, micro_batch_size=8)
    write_table(path, rows, HISTORY_SCHEMA)
    expected, content = read_table(path, HISTORY_SCHEMA), path.read_bytes()
    refused = 0
    for place in random.integers(0, 8 * len(content), 300):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            read = read_table(path, HISTORY_SCHEMA)
        except RecordError:
            refused += 1
        else:
            pd.testing.assert_frame_equal(read, expected, check_exact=True)
    assert refused > 250


def test_rows_of_two_versions_in_one_file_are_refused(tmp_path: Path) -> None:
    versions = [records.SCHEMA_VERSION, records.SCHEMA_VERSION + 1]
    pq.write_table(pa.Table.from_pandas(history().assign(schema_version=versions)), tmp_path / "x.parquet")
    with pytest.raises(RecordError, match="schema version"):
        read_table(tmp_path / "x.parquet", HISTORY_SCHEMA)


def test_a_file_without_the_column_that_names_its_rows_is_refused(tmp_path: Path) -> None:
    rows = history().assign(schema_version=records.SCHEMA_VERSION).drop(columns="epoch")
    pq.write_table(pa.Table.from_pandas(rows), tmp_path / "x.parquet")
    with pytest.raises(RecordError, match="lacks the column epoch"):
        read_table(tmp_path / "x.parquet", HISTORY_SCHEMA)


def test_runs_are_listed_in_order(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    names = [f"tiny-s{37 * number % 50:02}" for number in range(50)]
    for name in names:
        records.record_path(tmp_path, name).touch()
    assert records.list_runs(tmp_path) == sorted(names)


@pytest.mark.parametrize("name", ["loss", "seconds", "gradient_norm"])
def test_column_names_do_not_come_from_the_metadata_of_pandas(tmp_path: Path, name: str) -> None:
    """No checksum covers it: a flipped bit there would rename a column, whose values then read as null."""
    (kept,) = (GOLDEN / "history").rglob("*.parquet")
    expected, table = read_table(kept, HISTORY_SCHEMA), pq.read_table(kept)
    text, metadata = f'"name": "{name}"'.encode(), table.schema.metadata[b"pandas"]
    assert text in metadata
    flipped = metadata.replace(text, text[:-2] + bytes([text[-2] ^ 1]) + b'"')
    pq.write_table(table.replace_schema_metadata({b"pandas": flipped}), tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.parquet", HISTORY_SCHEMA), expected, check_exact=True)


def test_the_name_of_a_cost_file_keeps_the_variant_readable(tmp_path: Path) -> None:
    path = records.cost_path(tmp_path, "base", "beit3|fpn=none()|decoder=self_attention(1)")
    assert path.relative_to(tmp_path).as_posix() == "costs/base/beit3-fpn=none()-decoder=self_attention(1).parquet"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_written_as_null(value: float, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_table(path, history().assign(loss=[value, 0.5]), HISTORY_SCHEMA)
    assert pq.read_table(path)["loss"].to_pylist() == [None, 0.5]
    assert read_table(path, HISTORY_SCHEMA)["loss"].isna().tolist() == [True, False]
