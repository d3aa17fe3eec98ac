"""Pipes, devices, folders and files with holes in place of annotations: one line at once, no wait, little memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.data.readers.custom import read_custom
from pipeline.data.readers.json_stream import iterate_members
from pipeline.data.readers.safe_pickle import load_plain_pickle
from sharedris.errors import InputError
from sharedris.tokenizers import open_tokenizer

READERS: dict[str, Callable[[Path], Any]] = {
    "refs.p": load_plain_pickle,
    "instances.json": lambda path: list(iterate_members(path)),
    "refs.jsonl": lambda path: read_custom(path, "mine"),
    "refs.csv": lambda path: read_custom(path, "mine"),
    "tokenizer.model": lambda path: open_tokenizer(path, 20),
}


@pytest.mark.parametrize("name", list(READERS))
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a device", "link to nothing"])
@pytest.mark.timeout(20)
def test_what_is_not_a_file_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if "device" in kind else tmp_path / "nowhere")
    expected = "No such file" if kind == "link to nothing" else "not a regular file"
    with pytest.raises(InputError, match=expected):
        READERS[name](path)


def sparse(path: Path, size: int, begin: bytes = b"{") -> Path:
    """A file whose blocks are not on the disk."""
    path.write_bytes(begin)
    os.truncate(path, size)
    return path


@pytest.mark.parametrize("name", ["refs.p", "refs.jsonl", "tokenizer.model", "instances.json"])
@pytest.mark.timeout(60)
def test_a_file_of_gigabytes_without_content_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        READERS[name](sparse(tmp_path / name, 6 << 30))


@pytest.mark.parametrize("begin", [b'{"images": [{"a": "', b'{"info": "', b'{"images": [[[[[1, ', b'{"'])
@pytest.mark.timeout(60)
def test_a_value_that_does_not_end_costs_linear_time(begin: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(begin + b"a" * (80 << 20))
    with pytest.raises(InputError, match="not readable JSON"):
        list(iterate_members(tmp_path / "x.json"))


@pytest.mark.timeout(60)
def test_many_lines_without_ref_ids_cost_linear_time(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    line = '{"image": "a.png", "split": "train", "expression": "a", "polygons": [[1,1,5,1,5,5]]}\n'
    (tmp_path / "r.jsonl").write_text(line * 20_000)
    assert [ref.ref_id for ref in read_custom(tmp_path / "r.jsonl", "mine").refs] == list(range(20_000))
