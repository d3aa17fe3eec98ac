"""Locations of prepared data: a local folder or any file system that pyarrow knows by URI (`s3://`, `gs://`, `hdfs://`,
`file://`, or an fsspec one such as `fsspec+memory://`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from pipeline.files import atomic_writer
from sharedris.errors import InputError


@dataclass(frozen=True)
class Place:
    """A file or folder on some file system; `place / "name"` is the entry of that name in it."""

    filesystem: fs.FileSystem
    path: str
    name: str  # as the user wrote it, for messages

    def __truediv__(self, part: str) -> Place:
        return Place(self.filesystem, f"{self.path.rstrip('/')}/{part}", f"{self.name.rstrip('/')}/{part}")

    def __str__(self) -> str:
        return self.name

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def exists(self) -> bool:
        return self._type() is not fs.FileType.NotFound

    def _type(self) -> fs.FileType:
        try:
            return self.filesystem.get_file_info(self.path).type
        except OSError as error:
            raise InputError(f"{self} cannot be reached: {_line(error)}", "Check the address and the access") from None

    def require_regular(self) -> None:
        """Refuse a folder, and a pipe or device, which would wait or never end.

        Raises:
            InputError: naming it.
        """
        if self._type() in (fs.FileType.Directory, fs.FileType.Unknown):
            raise InputError(f"{self} is not a regular file", "Remove it, and prepare the set again")

    def stamp(self) -> str:
        """Return what changes with the content of a file, without reading it; empty where it cannot be told."""
        if self.is_local:
            return file_stamp(Path(self.path))
        info = self.filesystem.get_file_info(self.path)
        return f"{info.size} {info.mtime_ns}" if info.mtime_ns else ""

    def read_bytes(self) -> bytes:
        """Return the whole content.

        Raises:
            InputError: when it cannot be read.
        """
        self.require_regular()
        try:
            with self.filesystem.open_input_stream(self.path, compression=None) as stream:
                content: bytes = stream.read()
                return content
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self} cannot be read: {_line(error)}", "Prepare the set again") from None

    def write_bytes(self, content: bytes) -> None:
        """Write atomically: locally through a partial file, elsewhere as one object."""
        if self.is_local:
            with atomic_writer(Path(self.path)) as file:
                file.write(content)
            return
        self.filesystem.create_dir(self.path.rsplit("/", 1)[0], recursive=True)
        with self.filesystem.open_output_stream(self.path, compression=None) as stream:
            stream.write(content)

    def delete(self) -> None:
        """Remove a file or folder if it is there."""
        kind = self._type()
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path)
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(self.path)

    def children(self) -> list[str]:
        """Return the names of the entries of this folder, sorted; an empty list if it does not exist."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        return sorted(entry.base_name for entry in self.filesystem.get_file_info(selector))


def file_stamp(path: Path) -> str:
    """Return what changes with the content of a local file; empty where it does not exist.

    Tools restore size and time of change; ctime and inode are the system's own.
    """
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def open_place(root: str | Path) -> Place:
    """Return the place of a local path or a URI.

    Raises:
        InputError: for a URI of a file system that is not known.
    """
    text = str(root)
    if "://" not in text:
        return Place(fs.LocalFileSystem(), str(Path(text).absolute()), text)
    try:
        filesystem, path = fs.FileSystem.from_uri(text)
    except (OSError, ValueError, ImportError, pa.ArrowException) as error:
        raise InputError(
            f"{text} cannot be used: {_line(error)}", "Write a local path, file://, s3:// or gs://"
        ) from None
    return Place(filesystem, path, text)


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
