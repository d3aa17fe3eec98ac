"""Parquet files from the internet: rows come one group at a time, and a hostile file is one line."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.main import main
from pipeline.data.readers import parquet_rows as reader
from pipeline.data.readers.parquet_rows import parquet_columns, parquet_rows
from sharedris.errors import InputError

ROWS = [
    {
        "file_name": f"COCO_train2014_{number:012d}.jpg",
        "image": {"bytes": bytes(range(64)), "path": f"{number}.jpg"},
        "sentences": [{"sent": f"words {number}", "sent_id": number, "tokens": ["words", str(number)]}],
        "answer": [f"words {number}", "again"],
    }
    for number in range(200)
]


def _write(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=50, **options)
    return path


def _everything(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in parquet_rows(path, lambda leaf: True)]


def test_wanted_leaves_of_every_row_are_read(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", ROWS)
    assert parquet_columns(path) == list(ROWS[0])
    assert _everything(path) == ROWS
    wanted = {"image.path", "sentences.sent"}
    rows = list(parquet_rows(path, wanted.__contains__))
    assert rows[7] == (7, {"image": {"path": "7.jpg"}, "sentences": [{"sent": "words 7"}]})


def test_a_row_group_is_read_when_its_rows_are_asked_for(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", ROWS, write_page_checksum=True)
    chunk = pq.ParquetFile(path).metadata.row_group(3).column(0)
    content = bytearray(path.read_bytes())
    content[chunk.dictionary_page_offset + chunk.total_compressed_size - 2] ^= 0xFF
    path.write_bytes(content)
    rows = parquet_rows(path, lambda leaf: True)
    assert [next(rows)[0] for _ in range(150)] == list(range(150))
    with pytest.raises(InputError, match="not a readable parquet file"):
        list(rows)


def test_a_text_that_is_named_in_every_row_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 letters once in each row group, 50 times in a batch."""
    path = _write(tmp_path / "bomb.parquet", [{"file_name": "x" * 100_000, "sent": ["y"]}] * 100)
    assert path.stat().st_size < 30_000
    monkeypatch.setattr(reader, "MAX_BATCH_BYTES", 1_000_000)
    with pytest.raises(InputError, match="expands to"):
        _everything(path)


def test_a_page_that_unpacks_out_of_proportion_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"file_name": "a", "sent": "x" * 2_000_000}]
    path = _write(tmp_path / "bomb.parquet", rows, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 10_000
    assert _everything(path) == rows
    monkeypatch.setattr(reader, "MIN_BUDGET", 1_000_000)
    with pytest.raises(InputError, match="unpack to"):
        parquet_columns(path)


def test_a_large_column_is_read_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_DICTIONARY_BYTES", 500)
    path = _write(tmp_path / "a.parquet", ROWS)
    assert _everything(path) == ROWS


def test_deep_nesting_and_large_promises_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Any = "text"
    for _ in range(30):
        deep = [deep]
    with pytest.raises(InputError, match="nests more than"):
        parquet_columns(_write(tmp_path / "deep.parquet", [{"sent": deep, "ref_id": 1}]))
    path = _write(tmp_path / "a.parquet", ROWS)
    monkeypatch.setattr(reader, "MAX_ROWS", 100)
    with pytest.raises(InputError, match="more than are read"):
        parquet_columns(path)
    monkeypatch.setattr(reader, "MAX_ROWS", 1000)
    monkeypatch.setattr(reader, "MAX_CHUNK_BYTES", 10)
    with pytest.raises(InputError, match="bytes in one chunk"):
        parquet_columns(path)


def test_damaged_bytes_are_read_or_refused(tmp_path: Path) -> None:
    content = _write(tmp_path / "a.parquet", ROWS[:20], write_page_checksum=True).read_bytes()
    path, seed = tmp_path / "b.parquet", random.Random(5)
    refused = 0
    for _ in range(40):
        broken = bytearray(content)
        for _ in range(seed.randrange(1, 6)):
            broken[seed.randrange(len(broken))] = seed.randrange(256)
        path.write_bytes(broken[: seed.randrange(len(broken) // 2, len(broken) + 1)])
        try:
            _everything(path)
        except InputError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("suffix", [".parquet", ".p", ".json", ".jsonl", ".tsv"])
def test_identify_ends_with_one_line_for_what_it_cannot_read(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"val{suffix}"
    for content in (b"", b"\x00\xff\xfe garbage", json.dumps({"a": [1, {"b": 2}]}).encode()):
        path.write_bytes(content)
        assert main(["data", "identify", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1
    path.unlink()
    os.mkfifo(path)
    assert main(["data", "identify", str(path)]) == 2


def test_values_of_wrong_types_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"ref_id": "a\u001b[31m", "image_id": 1, "sent": "words"},
        {"ref_id": 10**30, "image_id": None, "sent": "w" * 20_000},
        {"ref_id": 1, "image_id": [1], "sentences": [None, 3, {"sent": ["x"]}]},
    ]
    (tmp_path / "val.json").write_text(json.dumps(rows))
    assert main(["data", "identify", "val.json"]) == 1
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("value", [0x16, 0x2C, 0x7C])
def test_a_footer_that_ends_arrow_is_one_line(value: int, tmp_path: Path) -> None:
    """One changed byte makes a column "encrypted"; asking for its size then aborts the process that asks."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), path, store_schema=False)
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[footer + 20] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet is not a readable parquet file"):
        list(parquet_rows(path, wanted=lambda name: True))
