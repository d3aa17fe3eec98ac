"""What a working folder brings from a store and puts there, on a store in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest

from pipeline.object_store import mirror as mirror_module
from pipeline.object_store.faults import StoreAwayError
from pipeline.object_store.layout import OF_A_RUN, SMALL
from pipeline.object_store.mirror import Mirror
from pipeline.object_store.objects import Objects
from pipeline.object_store.token import LeaseLostError
from tests.pipeline.object_store.conftest import may_write, write

Host = Callable[[str], Mirror]
RUN = "tiny-toy-s0-abc"
FINISHED = [
    f"state/{RUN}/checkpoint-00001-000000004.pt",
    f"state/{RUN}/checkpoint-00001-000000004.json",
    f"state/{RUN}/checkpoint-00002-000000008.pt",
    f"state/{RUN}/checkpoint-00002-000000008.json",
    f"history/{RUN}.parquet",
    f"samples/{RUN}/toy/val.parquet",
    f"models/{RUN}/model.safetensors",
    f"models/{RUN}/config.json",
    f"records/{RUN}.parquet",
]
NEEDS = {
    f"records/{RUN}.parquet": {
        f"samples/{RUN}/toy/val.parquet",
        *(f"models/{RUN}/{n}" for n in ("model.safetensors", "config.json")),
    },
    f"state/{RUN}/checkpoint-00001-000000004.json": {f"state/{RUN}/checkpoint-00001-000000004.pt"},
    f"state/{RUN}/checkpoint-00002-000000008.json": {f"state/{RUN}/checkpoint-00002-000000008.pt"},
}


def keys_in(store: Any) -> set[str]:
    return {meta["path"] for page in obstore.list(store) for meta in page}


def files_of(mirror: Mirror) -> set[str]:
    found = (path.relative_to(mirror.root).as_posix() for path in mirror.root.rglob("*") if path.is_file())
    return {key for key in found if not Path(key).name.startswith(".")}


def test_another_host_gets_what_one_has_put(host: Host, store: Any) -> None:
    one, two = host("one"), host("two")
    for key in FINISHED:
        write(one, key, key)
    for key in ("driver.lock", "leader.lock", "driver.json", "lease.json", "marker-x", ".a.partial"):
        write(one, f"state/{RUN}/{key}")
    one.push(RUN, may_write)
    assert keys_in(store) == set(FINISHED)
    two.pull(OF_A_RUN)
    assert files_of(two) == set(FINISHED)
    assert all((two.root / key).read_text() == key for key in FINISHED)


def test_commands_bring_no_large_files(host: Host) -> None:
    one, two = host("one"), host("two")
    for key in FINISHED:
        write(one, key)
    one.push(RUN, may_write)
    two.pull(SMALL)
    small = {key for key in FINISHED if not key.endswith(".pt") and key.split("/")[0] not in ("samples", "models")}
    assert files_of(two) == small


def test_a_kill_between_any_two_puts_leaves_a_state_to_resume_from(
    host: Host, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, states = Objects.put, []

    def noted(self: Objects, *args: Any, **options: Any) -> str:
        e_tag = put(self, *args, **options)
        states.append(keys_in(store))
        return e_tag

    monkeypatch.setattr(Objects, "put", noted)
    one = host("one")
    for key in FINISHED:
        write(one, key)
    one.push(RUN, may_write)
    assert len(states) == len(FINISHED)
    for state in states:
        for key, needed in NEEDS.items():
            assert key not in state or needed <= state


def test_files_that_appear_while_others_are_looked_for_are_never_named_before_they_are_put(host: Host) -> None:
    """The record appears after everything else: a look that finds it finds what it names, in any order of folders."""
    one = host("one")
    for number, key in enumerate(FINISHED):
        write(one, key)
        listed = mirror_module.files_to_put(one.root, RUN)
        assert set(listed) == set(FINISHED[: number + 1])
        for name, needed in NEEDS.items():
            if name in listed:
                assert all(listed.index(each) < listed.index(name) for each in needed)


def test_only_changes_are_put_and_removed_files_are_removed(
    host: Host, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = host("one")
    for key in FINISHED:
        write(one, key)
    one.push(RUN, may_write)
    assert not one.has_changes(RUN)
    changed, put = [], Objects.put
    monkeypatch.setattr(Objects, "put", lambda self, key, *a, **o: changed.append(key) or put(self, key, *a, **o))
    write(one, f"history/{RUN}.parquet", "longer")
    for key in FINISHED[:2]:
        (one.root / key).unlink()
    assert one.has_changes(RUN)
    one.push(RUN, may_write)
    assert changed == [f"history/{RUN}.parquet"]
    assert keys_in(store) == set(FINISHED[2:])


def test_a_driver_removes_the_checkpoint_with_its_manifest(host: Host, store: Any) -> None:
    one, two = host("one"), host("two")
    for key in FINISHED:
        write(one, key)
    one.push(RUN, may_write)
    two.pull(SMALL, run_ids=[RUN])
    for manifest in two.root.glob(f"state/{RUN}/checkpoint-*.json"):
        manifest.unlink()
    two.push(RUN, may_write)
    assert not [key for key in keys_in(store) if "checkpoint-" in key]


def test_what_was_not_put_does_not_count_for_the_next_driver(host: Host) -> None:
    one = host("one")
    write(one, FINISHED[0], "first")
    write(one, FINISHED[1], "first")
    one.push(RUN, may_write)
    write(one, FINISHED[1], "written again and not put")
    write(one, FINISHED[2], "not put")
    one.pull(OF_A_RUN, run_ids=[RUN], discard=True)
    assert files_of(one) == set(FINISHED[:2])
    assert (one.root / FINISHED[1]).read_text() == "first"


def test_without_discard_what_was_written_here_stays(host: Host) -> None:
    one, two = host("one"), host("two")
    write(one, FINISHED[4], "first")
    one.push(RUN, may_write)
    two.pull(SMALL)
    write(two, FINISHED[4], "second")
    two.push(RUN, may_write)
    write(one, FINISHED[4], "of this host")
    one.pull(SMALL)
    assert (one.root / FINISHED[4]).read_text() == "of this host"


def test_what_another_host_removed_is_removed_here(host: Host) -> None:
    one, two = host("one"), host("two")
    for key in FINISHED:
        write(one, key)
    one.push(RUN, may_write)
    two.pull(OF_A_RUN)
    two.remove_run(RUN)
    one.pull(OF_A_RUN)
    assert files_of(one) == set()


def test_a_writer_that_was_replaced_cannot_write_over_its_successor(host: Host, store: Any) -> None:
    old, new = host("old"), host("new")
    write(old, f"history/{RUN}.parquet", "old")
    old.push(RUN, may_write)
    new.pull(SMALL)
    write(new, f"history/{RUN}.parquet", "new")
    new.push(RUN, may_write)
    write(old, f"history/{RUN}.parquet", "old, late")
    asked = []

    def lost_after_the_first_look() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise LeaseLostError("another driver has taken the run over")

    with pytest.raises(LeaseLostError):
        old.push(RUN, lost_after_the_first_look)
    assert obstore.get(store, f"history/{RUN}.parquet").bytes() == b"new"


def test_a_put_whose_answer_was_lost_is_taken_as_ours(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    one, put = host("one"), Objects.put
    write(one, FINISHED[4])

    def loses_the_answer(self: Objects, *args: Any, **options: Any) -> str:
        put(self, *args, **options)
        monkeypatch.setattr(Objects, "put", put)
        raise StoreAwayError("answers 503")

    monkeypatch.setattr(Objects, "put", loses_the_answer)
    with pytest.raises(StoreAwayError):
        one.push(RUN, may_write)
    one.push(RUN, may_write)
    assert not one.has_changes(RUN)


def test_a_damaged_object_counts_as_missing(host: Host, store: Any, caplog: pytest.LogCaptureFixture) -> None:
    one, two = host("one"), host("two")
    for key in FINISHED:
        write(one, key)
    one.push(RUN, may_write)
    obstore.put(store, FINISHED[2], b"flipped", attributes={"sha256": "0" * 64})
    two.pull(OF_A_RUN)
    assert files_of(two) == set(FINISHED) - {FINISHED[2]}
    assert "is damaged" in caplog.text
    assert "counts as missing" in caplog.text


def test_a_damaged_index_costs_a_comparison_and_nothing_else(host: Host) -> None:
    one = host("one")
    for key in FINISHED:
        write(one, key)
    one.push(RUN, may_write)
    (one.root / ".mirror.json").write_text('{"records/a": [1], "x"')
    one.push(RUN, may_write)
    assert not one.has_changes(RUN)
