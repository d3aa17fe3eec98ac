"""Leases in a store that ignores conditions: the register of an actor keeps them, called without Ray here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.lease_actor import ActorLocks, actor_name, follow
from pipeline.cluster.lease_register import LeaseRegister
from pipeline.lifecycle import lease as lease_module
from pipeline.lifecycle.lease import Lease, RunHeldError, acquire
from pipeline.lifecycle.locks import driver_lock
from pipeline.object_store import locks as locks_module
from pipeline.object_store import objects
from pipeline.object_store.address import working_folder
from pipeline.object_store.faults import NoConditionsError, StoreAwayError
from pipeline.object_store.locks import Locks, kept_elsewhere, may_keep_elsewhere
from pipeline.object_store.mirror import Mirror
from pipeline.object_store.objects import Objects, open_objects
from pipeline.object_store.token import LeaseLostError, Token, WriterClaim, read_token, require_lease

URL, STATE = "s3://bucket/runs", "state/run"
KEY = f"{STATE}/driver.json"


class Cluster:
    """What a Ray cluster is to leases: one register a prefix, which a restart loses."""

    def __init__(self) -> None:
        self.register: LeaseRegister | None = None
        self.is_away = False
        self.now = 0.0

    def locks(self) -> ActorLocks:
        """The locks as one process of the cluster sees them."""
        cluster = self

        class Locals(ActorLocks):
            def _ask(self, method: str, *arguments: Any, last: bool = False, **named: Any) -> Any:
                if cluster.is_away:
                    raise StoreAwayError("the actor does not answer")
                if cluster.register is None:
                    cluster.register = LeaseRegister(lambda: cluster.now)
                if method == "end_if_free":
                    cluster.register = None if cluster.register.is_free() else cluster.register
                    return None
                return getattr(cluster.register, method)(*arguments, **named)

        return Locals(open_objects(URL))

    @contextlib.contextmanager
    def opener(self, url: str) -> Iterator[Locks]:
        """What the command allows when it may join the cluster."""
        yield self.locks()


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store in memory that ignores the conditions of writes."""
    obstore = pytest.importorskip("obstore", reason="the extra `store` is not installed")
    store = pytest.importorskip("obstore.store").MemoryStore()
    put = obstore.put

    def without_condition(*arguments: Any, mode: Any = None, **options: Any) -> Any:
        return put(*arguments, **options)

    monkeypatch.setattr(obstore, "put", without_condition)
    monkeypatch.setattr(objects, "_connect", lambda url: store)
    monkeypatch.setenv("SHAREDRIS_CACHE", str(tmp_path))
    monkeypatch.setattr(lease_module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(locks_module, "_elsewhere", {})
    return store


@pytest.fixture
def cluster(memory: Any) -> Cluster:
    return Cluster()


def copy_of(memory: Any, key: str = KEY) -> dict[str, Any]:
    """What the store has of a lease."""
    answer = Objects(URL, memory).get(key)
    assert answer is not None
    values: dict[str, Any] = json.loads(answer[0])
    return values


def edit(cluster: Cluster, **changes: Any) -> None:
    """Change what the register and the store have of the holder."""
    locks = cluster.locks()
    answer = locks.get(KEY)
    assert answer is not None
    locks.put(KEY, json.dumps({**json.loads(answer[0]), **changes}).encode(), replaces=answer[1].e_tag)


def taken(cluster: Cluster) -> Lease:
    """Take the lease as a process of the cluster."""
    locks_module._elsewhere[URL] = cluster.locks()
    return acquire(open_objects(URL), STATE)


def test_without_a_cluster_the_store_is_refused_with_the_remedy(memory: Any) -> None:
    folder = working_folder(URL) / "state" / "run"
    words = r"ignores the condition of a write.*or join a Ray cluster"
    with pytest.raises(NoConditionsError, match=words) as refused, driver_lock(folder):
        pass
    assert "\n" not in str(refused.value)
    assert Objects(URL, memory).below("") == []


def test_on_a_cluster_the_actor_keeps_the_lease_and_the_store_a_copy(memory: Any, cluster: Cluster) -> None:
    folder = working_folder(URL) / "state" / "run"
    for number in (1, 2):
        with may_keep_elsewhere(cluster.opener), driver_lock(folder):
            token = read_token(folder)
            assert token is not None
            assert token.elsewhere
            require_lease(open_objects(URL), token)
            assert copy_of(memory)["fence"] == token.fence == number
            (folder / "progress.json").write_text("{}")
        assert copy_of(memory)["released"] is True
        assert cluster.register is None, "no lease is held: the actor ends"
        assert open_objects(URL).has_conditions, "a later command begins anew"
    assert Objects(URL, memory).head("state/run/progress.json") is not None


def test_a_sweep_and_its_cells_have_one_actor(memory: Any, cluster: Cluster) -> None:
    root = working_folder(URL)
    with may_keep_elsewhere(cluster.opener), driver_lock(root / "sweeps/fpn"):
        for run in ("one", "two"):
            with driver_lock(root / "state" / run):
                assert cluster.register is not None
                assert not cluster.register.is_free()
        assert cluster.register is not None, "the sweep still holds its own lease"
        assert {copy_of(memory, f"state/{run}/driver.json")["released"] for run in ("one", "two")} == {True}
    assert cluster.register is None


def test_a_second_driver_of_the_cluster_is_refused(memory: Any, cluster: Cluster) -> None:
    taken(cluster)
    with pytest.raises(RunHeldError, match="run is being run by process"):
        taken(cluster)


def test_one_on_another_host_is_followed_after_the_same_time(
    memory: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = taken(cluster)
    edit(cluster, host="elsewhere", since=0)
    looks = []

    def later(seconds: float) -> None:
        looks.append(seconds)
        cluster.now += 10.0

    monkeypatch.setattr(lease_module.time, "sleep", later)
    new = taken(cluster)
    assert new.token.fence == 2
    assert len(looks) == lease_module.STALE_SECONDS / 10
    with pytest.raises(LeaseLostError, match="another driver has taken the run over"):
        old.renew()
    with pytest.raises(LeaseLostError):
        require_lease(open_objects(URL), old.token)
    old.release()
    assert copy_of(memory)["released"] is False
    assert cluster.register is not None, "the lease of the new driver keeps it"


def test_a_driver_of_another_cluster_is_seen_by_the_copy_that_it_renews(
    memory: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(cluster)
    edit(cluster, host="elsewhere", since=0)
    beats = iter(range(1, 100))
    monkeypatch.setattr(lease_module.time, "sleep", lambda seconds: edit(cluster, beat=next(beats)))
    with pytest.raises(RunHeldError, match="on elsewhere since"):
        taken(Cluster())


def test_after_a_restart_of_the_head_the_holder_goes_on_and_numbers_are_not_given_again(
    memory: Any, cluster: Cluster
) -> None:
    first = taken(cluster)
    first.release()
    held = taken(cluster)
    assert held.token.fence == 2
    cluster.register, cluster.now = None, -5000.0  # another actor, whose clock begins elsewhere
    with pytest.raises(RunHeldError):
        taken(cluster)
    held.renew()
    require_lease(open_objects(URL), held.token)
    cluster.register = None
    edit(cluster, process_started=1.0)  # the driver was killed with the head
    assert taken(cluster).token.fence == 3
    with pytest.raises(LeaseLostError):
        held.renew()


def test_a_new_lease_counts_only_with_its_copy_and_a_renewed_one_without(
    memory: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lease, put = taken(cluster), Objects.put

    def away(self: Objects, *arguments: Any, **options: Any) -> str:
        raise StoreAwayError("the store does not answer")

    monkeypatch.setattr(Objects, "put", away)
    lease.renew()
    lease.renew()
    assert "the copy of the lease is not renewed" in caplog.text
    monkeypatch.setattr(Objects, "put", put)
    lease.release()
    monkeypatch.setattr(Objects, "put", away)
    with pytest.raises(StoreAwayError):
        taken(cluster)


def test_an_actor_that_is_away_lets_nobody_write(memory: Any, cluster: Cluster) -> None:
    lease = taken(cluster)
    root = working_folder(URL)
    path = root / "state/run/progress.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    cluster.is_away = True
    mirror = Mirror(root, open_objects(URL))
    with pytest.raises(StoreAwayError, match="the actor does not answer"):
        mirror.push("run", lambda: require_lease(mirror.objects, lease.token))
    assert Objects(URL, memory).head("state/run/progress.json") is None


def test_each_write_asks_first(memory: Any, cluster: Cluster) -> None:
    taken(cluster)
    root, asked = working_folder(URL), []
    for name in ("a.json", "b.json", "c.json"):
        path = root / "state/run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    def guard() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise LeaseLostError("another driver has taken the run over")

    with pytest.raises(LeaseLostError):
        Mirror(root, open_objects(URL)).push("run", guard)
    written = [found.key for found in Objects(URL, memory).below("state/run") if found.key != KEY]
    assert written == ["state/run/a.json"]


def test_a_later_worker_of_rank_zero_writes(memory: Any, cluster: Cluster) -> None:
    lease = taken(cluster)
    first, second = (WriterClaim(open_objects(URL), lease.token) for _ in range(2))
    first.take()
    first.require()
    second.take()
    second.require()
    with pytest.raises(LeaseLostError, match="another worker of rank zero"):
        first.require()


def test_workers_follow_the_token(memory: Any) -> None:
    token = Token(url=URL, key=KEY, fence=1, nonce="x")
    follow(None)
    follow(token)
    assert open_objects(URL).has_conditions
    follow(Token(url=URL, key=KEY, fence=1, nonce="x", elsewhere=True))
    assert isinstance(open_objects(URL).locks, ActorLocks)
    assert not open_objects(URL).has_conditions
    assert open_objects("s3://bucket/other").has_conditions
    assert actor_name(URL) != actor_name("s3://bucket/other")


def test_nothing_is_kept_elsewhere_unasked(memory: Any) -> None:
    with may_keep_elsewhere(None), kept_elsewhere(URL) as is_kept:
        assert not is_kept


def test_conditions_that_the_store_refuses_are_not_waited_for() -> None:
    exceptions = pytest.importorskip("obstore.exceptions")

    def request() -> None:
        raise exceptions.GenericError("Server returned non-2xx status code: 501 Not Implemented: <Error></Error>")

    with pytest.raises(NoConditionsError, match="has no conditional writes"):
        Objects(URL, None, patience_seconds=60.0)._repeat(request)


@pytest.mark.parametrize("write", ["marks", "request"])
def test_what_needs_no_lock_is_written_without_a_condition(
    write: str, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    from pipeline.object_store.save_request import put_request

    put, modes = obstore.put, []
    noted: Callable[..., Any] = lambda *a, mode=None, **o: modes.append(mode) or put(*a, **o)  # noqa: E731
    monkeypatch.setattr(obstore, "put", noted)
    mirror = Mirror(working_folder(URL), open_objects(URL))
    if write == "request":
        put_request(mirror, "run")
    else:
        (mirror.root / "marks").mkdir()
        (mirror.root / "marks/run.json").write_text("{}")
        mirror.push_others()
    assert modes == ["overwrite"]
