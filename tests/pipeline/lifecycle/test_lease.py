"""The lock of a driver in a store: one holder, fencing numbers, and clocks that do not matter."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.lifecycle import lease as lease_module
from pipeline.lifecycle.lease import RunHeldError, acquire
from pipeline.lifecycle.locks import driver_lock
from pipeline.object_store import objects
from pipeline.object_store.address import working_folder
from pipeline.object_store.objects import Objects
from pipeline.object_store.opened import runs_driven_here
from pipeline.object_store.token import LeaseLostError, WriterClaim, read_token, require_lease

URL, STATE = "s3://bucket/runs", "state/run"
KEY = f"{STATE}/driver.json"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """Objects in memory; working folders of this test."""
    memory = pytest.importorskip("obstore.store", reason="the extra `store` is not installed").MemoryStore()
    monkeypatch.setattr(objects, "_connect", lambda url: memory)
    monkeypatch.setenv("SHAREDRIS_CACHE", str(tmp_path))
    monkeypatch.setattr(lease_module, "_LOOK_SECONDS", 0.01)
    return Objects(URL, memory, patience_seconds=0.0)


def held_by(kept: Objects, **changes: Any) -> None:
    """Change what the store has of the holder."""
    answer = kept.get(KEY)
    assert answer is not None
    kept.put(KEY, json.dumps({**json.loads(answer[0]), **changes}).encode(), replaces=answer[1].e_tag)


def values(kept: Objects) -> dict[str, Any]:
    answer = kept.get(KEY)
    assert answer is not None
    found: dict[str, Any] = json.loads(answer[0])
    return found


def test_numbers_count_the_drivers(kept: Objects) -> None:
    for number in (1, 2, 3):
        lease = acquire(kept, STATE)
        assert lease.token.fence == values(kept)["fence"] == number
        lease.release()
        assert values(kept)["released"] is True


def test_a_second_driver_on_this_host_is_refused_at_once(kept: Objects) -> None:
    acquire(kept, STATE)
    with pytest.raises(RunHeldError, match=f"run is being run by process {os.getpid()}"):
        acquire(kept, STATE)


def test_a_killed_driver_of_this_host_is_followed_at_once(kept: Objects) -> None:
    old = acquire(kept, STATE)
    held_by(kept, process_started=1.0)  # its number belongs to another process now
    new = acquire(kept, STATE)
    assert new.token.fence == 2
    with pytest.raises(LeaseLostError, match="another driver has taken the run over"):
        old.renew()
    with pytest.raises(LeaseLostError):
        require_lease(kept, old.token)
    old.release()
    assert values(kept)["released"] is False, "a lost lease releases nothing"


@contextmanager
def beating(kept: Objects) -> Iterator[None]:
    """Another host that renews its lease."""
    ended = threading.Event()

    def beat() -> None:
        number = 0
        while not ended.wait(0.05):
            number += 1
            held_by(kept, beat=number)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_driver_on_another_host_that_beats_is_not_replaced(kept: Objects, caplog: pytest.LogCaptureFixture) -> None:
    acquire(kept, STATE)
    held_by(kept, host="elsewhere", since=0)
    with beating(kept), pytest.raises(RunHeldError, match="on elsewhere since"):
        acquire(kept, STATE)
    assert "waiting whether it is alive" in caplog.text


def test_one_that_does_not_beat_any_more_is(kept: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "STALE_SECONDS", 0.3)
    acquire(kept, STATE)
    held_by(kept, host="elsewhere", since=4e9)  # its clock is 70 years ahead
    assert acquire(kept, STATE).token.fence == 2


def test_a_write_whose_answer_was_lost_counts(kept: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Objects.put

    def twice(self: Objects, key: str, content: bytes, *, replaces: str | None) -> str:
        if key == KEY:
            put(self, key, content, replaces=replaces)
        return put(self, key, content, replaces=replaces)  # repeated, since no answer came: the condition fails now

    monkeypatch.setattr(Objects, "put", twice)
    lease = acquire(kept, STATE)
    lease.renew()
    lease.renew()
    assert values(kept)["beat"] == 2
    require_lease(kept, lease.token)


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"fence": "many"}', b"\xff"])
def test_a_damaged_lease_is_waited_for_and_replaced(
    content: bytes, kept: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "STALE_SECONDS", 0.05)
    kept.put(KEY, content, replaces=None)
    assert acquire(kept, STATE).token.fence == 1


def test_the_later_worker_of_rank_zero_writes(kept: Objects) -> None:
    lease = acquire(kept, STATE)
    first, second = WriterClaim(kept, lease.token), WriterClaim(kept, lease.token)
    first.take()
    first.require()
    second.take()
    second.require()
    with pytest.raises(LeaseLostError, match="another worker of rank zero"):
        first.require()
    held_by(kept, nonce="of another driver")
    with pytest.raises(LeaseLostError, match="another driver"):
        second.require()
    with pytest.raises(LeaseLostError):
        WriterClaim(kept, lease.token).take()


def test_the_lock_of_a_driver_holds_the_lease_and_lends_it(kept: Objects) -> None:
    root = working_folder(URL)
    folder = root / "state" / "run"
    with driver_lock(folder):
        token = read_token(folder)
        assert token is not None
        require_lease(kept, token)
        assert runs_driven_here(root) == {"run"}
        (folder / "progress.json").write_text("{}")
    assert read_token(folder) is None
    assert values(kept)["released"] is True
    assert kept.head("state/run/progress.json") is not None, "what the driver wrote is put before it ends"


def test_another_working_folder_of_this_host_is_refused_too(
    kept: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driver_lock(working_folder(URL) / "state" / "run"):
        monkeypatch.setenv("SHAREDRIS_CACHE", str(tmp_path / "other"))
        with pytest.raises(RunHeldError), driver_lock(working_folder(URL) / "state" / "run"):
            pass
