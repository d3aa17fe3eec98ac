"""The register of an actor: writes under a condition, ages by its own clock, and when it may end. No Ray here."""

from __future__ import annotations

import pytest

from pipeline.cluster.lease_register import FORGET_SECONDS, LeaseRegister


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def register(clock: Clock) -> LeaseRegister:
    return LeaseRegister(clock)


def test_a_write_needs_the_version_that_is_there(register: LeaseRegister, clock: Clock) -> None:
    assert register.get("a") is None
    assert register.put("a", b"1", "some version", held=True) is None
    first = register.put("a", b"1", None, held=True)
    assert first is not None
    assert register.put("a", b"2", None, held=True) is None
    clock.seconds += 15
    second = register.put("a", b"2", first, held=True)
    assert second not in (None, first)
    assert register.put("a", b"3", first, held=True) is None
    kept = register.get("a")
    assert kept is not None
    assert (kept.content, kept.version, kept.modified) == (b"2", second, register.now())


def test_another_register_has_other_versions(register: LeaseRegister) -> None:
    version, other = register.put("a", b"1", None, held=True), LeaseRegister()
    assert other.put("a", b"1", None, held=True) != version
    assert other.put("a", b"2", version, held=True) is None


def test_a_copy_is_taken_until_one_writes_and_is_as_old_as_in_the_store(register: LeaseRegister) -> None:
    register.seed("a", b"old", 100.0, held=True)
    kept = register.get("a")
    assert kept is not None
    assert register.now() - kept.modified == 100.0
    register.seed("a", b"old", 50.0, held=True)
    assert register.get("a") == kept, "the same copy is as old as it was"
    register.seed("a", b"renewed", 0.0, held=True)
    assert register.put("a", b"new", kept.version, held=True) is None, "a driver of another cluster renews it"
    kept = register.get("a")
    assert kept is not None
    assert register.put("a", b"new", kept.version, held=True) is not None
    register.seed("a", b"old", 0.0, held=True)
    found = register.get("a")
    assert found is not None
    assert found.content == b"new"


def test_it_is_free_when_no_driver_holds_a_lease_or_renews_one(register: LeaseRegister, clock: Clock) -> None:
    assert register.is_free()
    one = register.put("one", b"", None, held=True)
    register.put("two", b"", None, held=True)
    assert register.put("one", b"", one, held=False) is not None
    assert not register.is_free()
    clock.seconds += FORGET_SECONDS - 1
    assert not register.is_free()
    clock.seconds += 1
    assert register.is_free()
    register.seed("three", b"", FORGET_SECONDS - 1, held=True)
    assert not register.is_free()
