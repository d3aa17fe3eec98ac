"""Names of runs on a command line: folders, prefixes of stores, and what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.object_store.address import origin_of, runs_folder, shown
from sharedris.errors import InputError


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert runs_folder("some/runs") == Path("some/runs")
    assert origin_of(tmp_path) is None
    assert shown(tmp_path) == str(tmp_path)


def test_a_prefix_gets_a_folder_that_is_bound_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDRIS_CACHE", str(tmp_path))
    folders = {url: runs_folder(url) for url in ("s3://lab/runs", "s3://lab/runs2", "gs://lab/runs", "az://lab/runs")}
    assert len(set(folders.values())) == 4
    for url, folder in folders.items():
        assert shown(folder) == url
        assert folder.is_relative_to(tmp_path)
    assert runs_folder("s3://lab/runs/") == folders["s3://lab/runs"]


@pytest.mark.parametrize("text", ["ftp://host/runs", "s3://", "s3:///runs", "https://host/bucket", "file:///runs"])
def test_what_no_store_is_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="neither a folder nor"):
        runs_folder(text)


@pytest.mark.parametrize("text", ["s3://KEYID:topsecret@bucket/runs", "s3://bucket/runs?key=topsecret"])
def test_a_secret_in_the_name_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InputError) as refused:
        runs_folder(text)
    assert "Put credentials into the environment" in str(refused.value)
    assert "topsecret" not in str(refused.value)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHAREDRIS_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="Set SHAREDRIS_CACHE"):
        runs_folder("s3://lab/runs")
