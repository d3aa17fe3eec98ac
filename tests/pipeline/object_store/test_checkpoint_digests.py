"""How often the bytes of a checkpoint are hashed on their way into a store and back."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
import torch

from pipeline.object_store.layout import OF_A_RUN
from pipeline.object_store.manifest import written_digest
from pipeline.object_store.mirror import Mirror
from pipeline.object_store.objects import Objects
from pipeline.training import checkpoints
from tests.pipeline.object_store.conftest import may_write
from tests.pipeline.object_store.test_mirror import RUN, keys_in

Host = Callable[[str], Mirror]
NAME = "checkpoint-00001-000000004"
KEY = f"state/{RUN}/{NAME}.pt"


class HashedBytes:
    """Counts what goes through SHA-256, by whichever function of `hashlib`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        new, of_file, counts = hashlib.sha256, hashlib.file_digest, self

        class Counted:
            def __init__(self, content: bytes = b"") -> None:
                self._hash = new()
                self.update(content)

            def update(self, part: bytes) -> None:
                counts.count += memoryview(part).nbytes
                self._hash.update(part)

            def hexdigest(self) -> str:
                return self._hash.hexdigest()

        def counted_file(stream: io.BufferedReader, name: str) -> Any:
            counts.count += stream.seek(0, io.SEEK_END) - stream.seek(0)
            return of_file(stream, name)

        patch.setattr(hashlib, "sha256", Counted)
        patch.setattr(hashlib, "file_digest", counted_file)


def save(mirror: Mirror, value: float = 1.0) -> Path:
    """Write a checkpoint as the trainer does."""
    state = {"content_hash": "abc", "weights": torch.full((50_000,), value)}
    return checkpoints.save(mirror.root / "state" / RUN, state, epoch=1, step=4)


def test_each_byte_is_hashed_once_on_the_way_up(host: Host, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, hashed = host("one"), HashedBytes(monkeypatch)
    path = save(one)
    one.push(RUN, may_write)
    manifest = path.with_suffix(".json")
    assert path.stat().st_size > 200_000
    assert hashed.count == path.stat().st_size + manifest.stat().st_size
    answer = obstore.get(store, KEY)
    assert answer.attributes["sha256"] == hashlib.sha256(bytes(answer.bytes())).hexdigest()


def test_a_checkpoint_is_put_when_its_manifest_is_there(host: Host, store: Any) -> None:
    one = host("one")
    path = save(one)
    manifest = path.with_suffix(".json").read_bytes()
    path.with_suffix(".json").unlink()
    one.push(RUN, may_write)
    assert KEY not in keys_in(store)
    assert not one.has_changes(RUN)
    path.with_suffix(".json").write_bytes(manifest)
    one.push(RUN, may_write)
    assert KEY in keys_in(store)


def save_epochs(mirror: Mirror, *epochs: int) -> None:
    """Write a checkpoint of each of these epochs, which prunes older ones."""
    for epoch in epochs:
        checkpoints.save(mirror.root / "state" / RUN, {"content_hash": "abc"}, epoch=epoch, step=epoch)


def whole_in(store: Any) -> list[str]:
    """The checkpoints of a store that count."""
    keys = keys_in(store)
    return sorted(key for key in keys if key.endswith(".pt") and key.removesuffix(".pt") + ".json" in keys)


def test_checkpoints_that_are_pruned_while_they_are_put_leave_a_whole_one(
    host: Host, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, put, delete, states = host("one"), Objects.put, Objects.delete, []

    def slow_put(self: Objects, key: str, *arguments: Any, **options: Any) -> str:
        e_tag = put(self, key, *arguments, **options)
        if key.endswith("00002-000000002.pt"):
            save_epochs(one, 4, 5)  # what was listed is pruned meanwhile
        states.append(whole_in(store))
        return e_tag

    def noted_delete(self: Objects, keys: list[str]) -> None:
        delete(self, keys)
        states.append(whole_in(store))

    save_epochs(one, 1)
    one.push(RUN, may_write)
    save_epochs(one, 2, 3)
    monkeypatch.setattr(Objects, "put", slow_put)
    monkeypatch.setattr(Objects, "delete", noted_delete)
    one.push(RUN, may_write)
    one.push(RUN, may_write)
    assert all(states), "a kill at any moment leaves a checkpoint to resume from"
    assert [key[-12:-3] for key in whole_in(store)] == ["000000004", "000000005"]
    assert not one.has_changes(RUN)


def test_checkpoints_that_are_pruned_before_they_are_put_leave_the_older_ones(host: Host, store: Any) -> None:
    one, is_first = host("one"), [True]

    def training_goes_on() -> None:
        if is_first:
            is_first.clear()
            save_epochs(one, 4, 5)  # before the first of what was listed is put

    save_epochs(one, 1)
    one.push(RUN, may_write)
    save_epochs(one, 2, 3)
    one.push(RUN, training_goes_on)
    assert [key[-12:-3] for key in whole_in(store)] == ["000000001"]
    one.push(RUN, may_write)
    assert [key[-12:-3] for key in whole_in(store)] == ["000000004", "000000005"]
    assert not one.has_changes(RUN)


def test_a_checkpoint_that_is_written_again_never_has_the_digest_of_the_one_before(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, wrote = host("one"), checkpoints.write_json
    first, seen = written_digest(save(one)), []

    def between(path: Path, values: Any) -> None:
        seen.append(written_digest(path.with_suffix(".pt")))
        wrote(path, values)

    monkeypatch.setattr(checkpoints, "write_json", between)
    second = written_digest(save(one, 2.0))
    assert seen == [None]
    assert first != second


@pytest.mark.parametrize("content", ["{", "[]", '{"bytes": 1}', '{"bytes": 4, "sha256": "\\u00e9"}', '{"bytes": 4}'])
def test_a_damaged_manifest_has_no_digest(content: str, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.pt").write_text("four")
    (tmp_path / f"{NAME}.json").write_text(content)
    assert written_digest(tmp_path / f"{NAME}.pt") is None


def test_what_was_damaged_between_writing_and_putting_counts_as_missing_elsewhere(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = host("one"), host("two")
    path = save(one)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    one.push(RUN, may_write)
    two.pull(OF_A_RUN)
    assert not (two.root / KEY).exists()
    assert "is damaged" in caplog.text


def test_what_was_brought_is_hashed_once_on_a_node(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = host("one"), host("two")
    size = save(one).stat().st_size
    one.push(RUN, may_write)
    hashed = HashedBytes(monkeypatch)
    two.pull(("state", "checkpoints"), run_ids=[RUN], discard=True)
    brought = hashed.count
    Mirror(two.root, two.objects).pull(("state", "checkpoints"), run_ids=[RUN])  # as the node's next worker does
    found = checkpoints.load_newest(two.root / "state" / RUN, content_hash="abc")
    assert found is not None
    assert size < brought < size + 500, "the checkpoint and its manifest"
    assert hashed.count == brought, "what was verified on arrival is not read again for that"


@pytest.mark.parametrize("reason", ["its process has ended", "the file has changed", "put and not brought"])
def test_what_was_not_just_brought_is_hashed_again(reason: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = host("one"), host("two")
    path = save(one)
    one.push(RUN, may_write)
    two.pull(OF_A_RUN)
    here = path if reason.startswith("put") else two.root / KEY
    if reason.startswith("its process"):
        index = two.root / ".mirror.json"
        index.write_text(index.read_text().replace(f" {os.getpid()},", " 1,"))
    elif reason.startswith("the file"):
        here.write_bytes(here.read_bytes()[::-1])
    hashed = HashedBytes(monkeypatch)
    assert checkpoints.is_whole(here) == (not reason.startswith("the file"))
    assert hashed.count == here.stat().st_size
