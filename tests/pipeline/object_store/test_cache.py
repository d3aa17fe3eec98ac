"""The size of a working folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.object_store.cache import in_use, remove_unused_workers, trim
from pipeline.object_store.layout import OF_A_RUN
from pipeline.object_store.mirror import Mirror
from sharedris.errors import InputError
from tests.pipeline.object_store.conftest import may_write, write

Host = Callable[[str], Mirror]


def make_runs(mirror: Mirror, count: int = 3) -> list[str]:
    """Put the models of some runs, each of 1000 bytes, the first one used last."""
    names = [f"run-{number}" for number in range(count)]
    for number, name in enumerate(names):
        path = write(mirror, f"models/{name}/model.safetensors", "x" * 1000)
        write(mirror, f"records/{name}.parquet")
        mirror.push(name, may_write)
        changed = path.stat().st_mtime_ns
        os.utime(path, ns=(changed + (count - number) * 10**9, changed))  # read after it was written
    return names


def models_of(mirror: Mirror) -> list[str]:
    return sorted(path.parent.name for path in mirror.root.rglob("*.safetensors"))


def test_the_longest_unused_is_removed_and_comes_back(host: Host) -> None:
    one = host("one")
    make_runs(one)
    size = sum(path.stat().st_size for path in one.root.rglob("*") if path.is_file())
    assert trim(one.root, size) == 0
    assert trim(one.root, size - 1) == 1000
    assert models_of(one) == ["run-0", "run-1"]
    assert trim(one.root, 0) == 2000
    assert len(list(one.root.glob("records/*"))) == 3, "small files stay"
    one.pull(OF_A_RUN)
    assert models_of(one) == ["run-0", "run-1", "run-2"], "nothing was removed from the store"


def test_what_the_store_does_not_have_stays(host: Host) -> None:
    one = host("one")
    make_runs(one)
    write(one, "models/run-1/model.safetensors", "trained again")
    write(one, "models/new/model.safetensors", "not put")
    trim(one.root, 0)
    assert models_of(one) == ["new", "run-1"]


def test_a_command_trims_at_its_end_unless_another_uses_the_folder(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    one = host("one")
    make_runs(one)
    monkeypatch.setenv("SHAREDRIS_CACHE_GIB", "0")
    with in_use(one.root):
        other = next(one.root.glob(".users/*"))
        renamed = other.with_name(f"{os.getppid()}-0")
        renamed.touch()  # of a process that has ended: its number belongs to another one now
    assert models_of(one) == []


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDRIS_CACHE_GIB", text)
    with pytest.raises(InputError, match="not a number of GiB"), in_use(tmp_path):
        pass


def test_folders_of_workers_that_ended_are_removed(tmp_path: Path) -> None:
    (tmp_path / "workers" / "killed" / "state").mkdir(parents=True)
    mine = tmp_path / "workers" / "mine"
    mine.mkdir()
    with in_use(tmp_path / "workers" / "busy"):
        remove_unused_workers(mine)
        assert sorted(path.name for path in (tmp_path / "workers").iterdir()) == ["busy", "mine"]
