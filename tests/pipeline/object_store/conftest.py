"""A store in memory in place of S3, and the working folders of several hosts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.object_store import objects
from pipeline.object_store.address import working_folder
from pipeline.object_store.mirror import Mirror

URL = "s3://bucket/runs"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store that every prefix of this test is in."""
    memory = pytest.importorskip("obstore.store", reason="the extra `store` is not installed").MemoryStore()
    monkeypatch.setattr(objects, "_connect", lambda url: memory)
    monkeypatch.setenv("SHAREDRIS_CACHE", str(tmp_path / "cache"))
    return memory


@pytest.fixture
def host(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Mirror]:
    """Makes the mirror of a host: a cache folder of its own."""

    def make(name: str) -> Mirror:
        monkeypatch.setenv("SHAREDRIS_CACHE", str(tmp_path / name))
        return Mirror(working_folder(URL), objects.Objects(URL, store, patience_seconds=0.0))

    return make


def write(mirror: Mirror, key: str, content: str = "x") -> Path:
    """Write a file of a working folder as the pipeline does: in its place at once."""
    path = mirror.root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(content)
    return partial.replace(path)


def may_write() -> None:
    """The guard of a writer that nobody has replaced."""
