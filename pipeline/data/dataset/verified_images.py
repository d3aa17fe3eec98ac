"""Which images were compared with their digests, remembered over epochs, processes and runs.

    ROOT/.verified/SET    a line of 16 hex digits per image: a hash of its digest and the state of its file

Many loader processes append to the file, each line by a single write. A line that a crash cut or that two writers mixed
equals no hash, so its image is compared again. Where the folder cannot be written, each process remembers its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from pipeline.data.prepared.manifest import Manifest


class VerifiedImages:
    """The images of one prepared set whose present files are known to be the prepared ones."""

    def __init__(self, manifest: Manifest) -> None:
        root = Path(manifest.place.path).parent
        self._path = root / ".verified" / manifest.set if manifest.place.is_local else None
        self._known: set[bytes] = set()
        self._read = 0  # bytes of the file
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes have added."""
        if self._path is None:
            return
        with contextlib.suppress(OSError), self._path.open("rb") as stream:
            stream.seek(self._read)
            content = stream.read()
            self._read += len(content)
            self._known.update(content.split(b"\n"))

    def has(self, digest: str, stamp: str) -> bool:
        """Return whether an image of this digest was found in the file of this state."""
        return bool(stamp) and _line(digest, stamp) in self._known

    def add(self, digest: str, stamp: str) -> None:
        """Remember an image; nothing where the state of its file cannot be told."""
        if not stamp:
            return
        line = _line(digest, stamp)
        self._known.add(line)
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            target = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                os.write(target, b"\n" + line)  # so that a line that was cut does not spoil this one
            finally:
                os.close(target)


def _line(digest: str, stamp: str) -> bytes:
    return hashlib.blake2b(f"{digest} {stamp}".encode(), digest_size=8).hexdigest().encode()
