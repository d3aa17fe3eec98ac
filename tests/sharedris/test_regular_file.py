"""Only regular files are read, and only below their folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sharedris.errors import InputError
from sharedris.regular_file import read_regular


def read(path: Path, *, root: Path | None = None, most_bytes: int = 256 << 20) -> bytes:
    return read_regular(path, most_bytes=most_bytes, root=root)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    assert read(tmp_path / "x") == b"content"
    (tmp_path / "link").symlink_to("x")
    assert read(tmp_path / "link", root=tmp_path) == b"content"
    assert read(tmp_path / "x", most_bytes=7) == b"content"


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/x").write_bytes(b"content")
    (tmp_path / "root").symlink_to("store")
    assert read(tmp_path / "root/x", root=tmp_path / "root") == b"content"


@pytest.mark.parametrize("link", ["file", "folder", "above"])
def test_a_link_out_of_the_root_is_refused(link: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "root-secret").mkdir()  # its name starts as the root's
    (tmp_path / "root-secret/x").write_bytes(b"secret")
    target = {"file": tmp_path / "root-secret/x", "folder": tmp_path / "root-secret", "above": Path("..")}[link]
    (root / "link").symlink_to(target)
    path = root / {"file": "link", "folder": "link/x", "above": "link/root-secret/x"}[link]
    assert path.read_bytes() == b"secret"
    with pytest.raises(InputError, match="outside its folder"):
        read(path, root=root)


def test_special_files_are_refused_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for name, kind in (("fifo", "a named pipe"), ("link", "a named pipe"), (".", "a folder")):
        with pytest.raises(InputError, match=f"is not a regular file but {kind}"):
            read(tmp_path / name, root=tmp_path)
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(InputError, match="not a regular file but a device"):
            read(Path(device))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "reason"), [("none", "cannot be read: No such file"), ("a\0b", "cannot be read"), ("x/y", "cannot")]
)
def test_what_cannot_be_read_is_one_line(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    with pytest.raises(InputError, match=reason) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_large_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(3 << 40)
    with pytest.raises(InputError, match="has 3298534883328 bytes, more than the 268435456"):
        read(tmp_path / "sparse")
    with pytest.raises(InputError, match="more than the 1048576"):
        read(tmp_path / "sparse", most_bytes=1 << 20)
