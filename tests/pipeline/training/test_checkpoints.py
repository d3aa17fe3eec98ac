"""Checkpoints: whole or skipped, never another configuration's, pruned."""

import errno
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from pipeline.training import checkpoints


def state(epoch: int, content_hash: str = "abc") -> dict:
    return {"content_hash": content_hash, "epoch": epoch, "weights": torch.full((8,), float(epoch))}


def save(folder: Path, *epochs: int) -> None:
    for epoch in epochs:
        checkpoints.save(folder, state(epoch), epoch=epoch, step=epoch * 10)


def load(folder: Path) -> dict | None:
    return checkpoints.load_newest(folder, content_hash="abc")


def test_the_newest_is_loaded_and_only_two_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    loaded = load(tmp_path)
    assert loaded is not None
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["weights"], torch.full((8,), 3.0))
    assert len(list(tmp_path.glob("*.pt"))) == checkpoints.KEPT
    assert len(list(tmp_path.glob("*.json"))) == checkpoints.KEPT


@pytest.mark.parametrize("damage", ["truncated", "flipped byte", "no manifest"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1, 2)
    newest = max(tmp_path.glob("*.pt"))
    content = bytearray(newest.read_bytes())
    if damage == "truncated":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "flipped byte":
        content[len(content) // 2] ^= 0xFF
        newest.write_bytes(content)
    else:
        newest.with_suffix(".json").unlink()
    loaded = load(tmp_path)
    assert loaded is not None
    assert loaded["epoch"] == 1
    assert newest.name in caplog.messages[0]


def test_when_none_is_whole_a_line_says_that_training_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1, 2)
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(b"damaged")
    assert load(tmp_path) is None
    assert caplog.messages[-1] == "no checkpoint is left to resume from: training starts at its first step"
    assert load(tmp_path / "nothing there") is None
    assert len(caplog.messages) == 3


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{}", b"[1]", b'{"bytes": 1}', b'{"sha256": "0", "bytes": '])
def test_a_damaged_manifest_is_a_damaged_checkpoint(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1, 2)
    (tmp_path / "checkpoint-00002-000000020.json").write_bytes(content)
    found = load(tmp_path)
    assert found is not None
    assert found["epoch"] == 1
    assert "skipped checkpoint-00002-000000020.pt: it is damaged" in caplog.messages[0]
    assert checkpoints.newest_name(tmp_path) == "checkpoint-00001-000000010.pt"


def test_a_checkpoint_whose_manifest_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    save(tmp_path, 1)
    full = OSError(errno.ENOSPC, "No space left on device")
    with patch("pipeline.training.checkpoints.write_json", side_effect=full), pytest.raises(OSError, match="No space"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.glob("*.pt")] == ["checkpoint-00001-000000010.pt"]
    assert checkpoints.newest_name(tmp_path) == "checkpoint-00001-000000010.pt"


def test_another_configurations_checkpoint_is_never_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints.save(tmp_path, state(4, content_hash="other"), epoch=4, step=40)
    assert load(tmp_path) is None
    assert "another configuration (other)" in caplog.messages[0]


def test_a_full_disk_leaves_the_checkpoint_before_it_intact(tmp_path: Path) -> None:
    save(tmp_path, 1)
    full = OSError(errno.ENOSPC, "No space left on device")
    with patch("pipeline.files.os.fsync", side_effect=full), pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    loaded = load(tmp_path)
    assert loaded is not None
    assert loaded["epoch"] == 1
    assert not list(tmp_path.glob(".*.partial"))


def test_what_a_killed_writer_left_is_removed_by_the_next_save(tmp_path: Path) -> None:
    save(tmp_path, 1)
    orphan = tmp_path / ".checkpoint-00002-000000020.pt.deadbeef.partial"
    orphan.write_bytes(b"half")
    unlisted = tmp_path / "checkpoint-00000-000000005.pt"
    unlisted.write_bytes(b"no manifest")
    save(tmp_path, 2)
    assert not orphan.exists()
    assert not unlisted.exists()
