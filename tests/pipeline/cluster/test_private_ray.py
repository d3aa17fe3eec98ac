"""A private Ray writes no token, and an unusable temporary folder is named before it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.cluster import launch
from pipeline.cluster.private_ray import require_temporary_folder, set_token
from sharedris.errors import InputError

AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@pytest.fixture
def no_choice(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The user has chosen nothing; whatever the test sets is undone."""
    for name in AUTH:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_the_token_is_in_the_environment_and_the_same_each_time(no_choice: pytest.MonkeyPatch) -> None:
    set_token()
    first = os.environ.pop("RAY_AUTH_TOKEN")
    assert len(first) == 64
    set_token()
    assert os.environ["RAY_AUTH_TOKEN"] == first, "Ray keeps the first token of a process"


@pytest.mark.parametrize(
    ("name", "value"),
    [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "chosen"), ("RAY_AUTH_TOKEN_PATH", "/a/file")],
)
def test_what_the_user_has_chosen_stays(name: str, value: str, no_choice: pytest.MonkeyPatch) -> None:
    no_choice.setenv(name, value)
    set_token()
    assert {other: os.environ[other] for other in AUTH if other in os.environ} == {name: value}


def test_token_mode_without_a_token_gets_one(no_choice: pytest.MonkeyPatch) -> None:
    no_choice.setenv("RAY_AUTH_MODE", "token")  # as Ray itself leaves it behind
    set_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_that_cannot_be_written(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/proc/nowhere")
    with pytest.raises(InputError, match="Ray cannot use /proc/nowhere .*No such file.*Set RAY_TMPDIR to a folder"):
        require_temporary_folder()


def test_a_folder_whose_name_is_too_long_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with pytest.raises(InputError, match="paths of [0-9]+ bytes, and the system allows 107.*RAY_TMPDIR"):
        require_temporary_folder()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    require_temporary_folder()


def test_a_cluster_of_this_host_that_is_not_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    launch._name_unused_cluster()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text("127.0.0.1:1\n")
    launch._name_unused_cluster()
    assert not caplog.messages, "none was started, or it has ended"
    monkeypatch.setattr(launch, "require_ray_head", lambda *_, **__: None)
    launch._name_unused_cluster()
    assert caplog.messages == [
        "a Ray cluster runs on this host (127.0.0.1:1) and is not used; RAY_ADDRESS=auto joins it"
    ]
