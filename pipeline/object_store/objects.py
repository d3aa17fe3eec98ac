"""The objects of one prefix: list, read, write under a condition. Faults become one line; passing ones are repeated.

`obstore` (the Rust library object_store) does the requests. It finds credentials itself, in the environment and from
the identity of the machine; none is read, kept or logged here.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pipeline.files import atomic_writer
from pipeline.object_store.faults import (
    ConflictError,
    DamagedObjectError,
    NoConditionsError,
    StoreAwayError,
    StoreError,
    in_one_line,
)
from pipeline.object_store.locks import Found, Locks, locks_elsewhere

log = logging.getLogger(__name__)
Result = TypeVar("Result")

ANY = "*"
"""In place of a version: write over whatever is there."""
PATIENCE_SECONDS = 300.0
"""How long a request is repeated while the store does not answer or answers 5xx."""
PROBE = ".probe-"
_FIRST_SECONDS = 12.0
_PAUSE_SECONDS = 2.0
_LINE_AFTER_SECONDS = 10.0
_PART_BYTES = 32 * 2**20
_SINGLE_PUT_BYTES = 64 * 2**20
"""Larger files are sent in parts, which no store can do under a condition."""
_GENERATION = "@generation:"
_HTTP_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")


class Objects:
    """The objects below one prefix.

    Args:
        url: of the prefix, for messages.
        store: of obstore.
        patience_seconds: how long a passing fault is waited for.
    """

    def __init__(self, url: str, store: Any, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.url, self._store, self.patience_seconds = url, store, patience_seconds
        self._has_conditions = False

    @property
    def locks(self) -> Locks:
        """Where the locks of the prefix are kept: here, if the store has conditional writes."""
        return locks_elsewhere(self.url) or self

    @property
    def has_conditions(self) -> bool:
        """Whether writes are conditional, so that the store itself refuses a writer that was replaced."""
        return self.locks is self

    def require_usable(self) -> None:
        """Ask for one page of the prefix, so that a wrong bucket or missing credentials end the command at once.

        Raises:
            StoreError: in one line.
        """
        first = Objects(self.url, self._store, patience_seconds=min(_FIRST_SECONDS, self.patience_seconds))
        first._repeat(lambda: next(iter(_obstore().list(self._store, chunk_size=1)), None))

    def below(self, folder: str) -> list[Found]:
        """Return all objects below a folder."""
        pages = self._repeat(lambda: list(_obstore().list(self._store, folder or None, chunk_size=1000)))
        return [self._found(meta) for page in pages for meta in page]

    def head(self, key: str) -> Found | None:
        """Return an object without its content, or None where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return self._found(self._repeat(lambda: _obstore().head(self._store, key)))
        return None

    def get(self, key: str) -> tuple[bytes, Found] | None:
        """Return a small object, or None where there is none."""

        def read() -> tuple[bytes, Found]:
            answer = _obstore().get(self._store, key)
            return bytes(answer.bytes()), self._found(answer.meta)

        with contextlib.suppress(FileNotFoundError):
            return self._repeat(read)
        return None

    def digest(self, key: str) -> str | None:
        """Return the SHA-256 that an object was put with."""
        with contextlib.suppress(FileNotFoundError):
            return self._repeat(lambda: _digest_of(_obstore().get(self._store, key)))
        return None

    def download(self, key: str, path: Path) -> Found | None:
        """Write an object to a file in one step, verified against its SHA-256; None where there is no object.

        Raises:
            DamagedObjectError: for content that is not what was put; the file is as it was.
        """
        with contextlib.suppress(FileNotFoundError):
            return self._repeat(lambda: self._download(key, path))
        return None

    def _download(self, key: str, path: Path) -> Found:
        answer = _obstore().get(self._store, key)
        found, wanted, computed = self._found(answer.meta), _digest_of(answer), hashlib.sha256()
        with atomic_writer(path) as file:
            for part in self._parts(answer, found):
                computed.update(part)
                file.write(part)
            if wanted is not None and computed.hexdigest() != wanted:
                raise DamagedObjectError(f"{self.url}/{key} is damaged: its SHA-256 is not the one it was put with")
        return replace(found, sha256=wanted)

    def _parts(self, answer: Any, found: Found) -> Iterator[Any]:
        """Yield the content of an object; of a large one by a request each, so that none takes longer than a minute."""
        if found.size <= _PART_BYTES:
            yield answer.bytes()
            return
        for start in range(0, found.size, _PART_BYTES):
            length = min(_PART_BYTES, found.size - start)
            yield _obstore().get_range(self._store, found.key, start=start, length=length)

    def put(self, key: str, content: bytes | Path, *, replaces: str | None, digest: str | None = None) -> str:
        """Write an object in one step and return its version.

        Args:
            key: below the prefix.
            content: bytes, or a file. A file above 64 MiB is sent in parts and without the condition.
            replaces: the version that must be there; None where no object may be there, `ANY` for no condition. In a
                store without conditional writes it counts for nothing: the caller asks before whether it may write.
            digest: the SHA-256 of the content in hex digits, where its writer has computed it.

        Raises:
            ConflictError: where the condition does not hold. It may not hold because an answer was lost: compare.
        """
        sha256 = sha256_of(content) if digest is None else digest
        e_tag, _, generation = (replaces or "").partition(_GENERATION)
        named = {"e_tag": e_tag, "version": generation} if generation else {"e_tag": e_tag}
        mode: Any = "create" if replaces is None else named
        is_large = isinstance(content, Path) and content.stat().st_size > _SINGLE_PUT_BYTES
        if is_large or replaces == ANY or not self.has_conditions:
            mode = "overwrite"

        def write() -> Any:
            with contextlib.ExitStack() as held:
                source = held.enter_context(content.open("rb")) if isinstance(content, Path) else content
                return _obstore().put(
                    self._store, key, source, attributes={"sha256": sha256}, mode=mode, chunk_size=_PART_BYTES
                )

        return self._version(self._repeat(write))

    def delete(self, keys: list[str]) -> None:
        """Remove objects, one after the other; those that are not there count as removed."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                self._repeat(functools.partial(_obstore().delete, self._store, key))

    def probe(self, folder: str) -> float:
        """Check that the store keeps the conditions of writes, and return the time of its clock (seconds since 1970).

        Raises:
            NoConditionsError: where it does not: two drivers could then work on one run.
        """
        return self.clock(folder, may_ignore_conditions=False)

    def clock(self, folder: str, *, may_ignore_conditions: bool = True) -> float:
        """Return the time of the store's clock (seconds since 1970), found by a write.

        Raises:
            NoConditionsError: where conditions are not kept and may not be ignored.
        """
        key = f"{folder}/{PROBE}{uuid.uuid4().hex[:12]}"
        self.put(key, b"1", replaces=ANY if may_ignore_conditions else None)
        try:
            found = self.head(key)
            if not may_ignore_conditions and not self._has_conditions:
                for replaces in (None, '"0123456789abcdef0123456789abcdef"'):
                    self._require_conflict(key, replaces)
                self._has_conditions = True
        finally:
            self.delete([key])
        return time.time() if found is None else found.modified

    def _require_conflict(self, key: str, replaces: str | None) -> None:
        try:
            self.put(key, uuid.uuid4().bytes, replaces=replaces)
        except ConflictError:
            return
        raise NoConditionsError(
            self.url, "ignores the condition of a write (If-None-Match, If-Match), which locks runs"
        )

    def end_if_free(self) -> None:
        """Do nothing: locks in the store take no process."""

    def _found(self, meta: Any) -> Found:
        modified = float(meta["last_modified"].timestamp())
        return Found(key=str(meta["path"]), e_tag=self._version(meta), size=int(meta["size"]), modified=modified)

    def _version(self, meta: Any) -> str:
        """Return what a condition names: on Google's store the generation, elsewhere the ETag."""
        return str(meta["e_tag"]) + (f"{_GENERATION}{meta['version']}" if self.url.startswith("gs:") else "")

    def _repeat(self, request: Callable[[], Result]) -> Result:
        """Do a request, again and again while the store is away.

        The library's own retries are few: they cannot be interrupted by Ctrl-C, and this loop can.
        """
        begun, has_logged = time.monotonic(), False
        while True:
            try:
                with in_one_line(self.url):
                    return request()
            except StoreAwayError as error:
                waited = time.monotonic() - begun
                if waited > self.patience_seconds:
                    raise
                if waited > _LINE_AFTER_SECONDS and not has_logged:
                    has_logged = True
                    log.warning("%s; repeated for %.0f s", error.message, self.patience_seconds)
                time.sleep(min(_PAUSE_SECONDS, self.patience_seconds / 4))


def open_objects(url: str) -> Objects:
    """Return the objects below a prefix; asks the store for nothing.

    Raises:
        StoreError: where the library is missing, or the URL or the environment is not what it needs.
    """
    return Objects(url, _connect(url))


def _connect(url: str) -> Any:
    """Return the library's store; tests put one in memory in its place."""
    obstore = _obstore()
    endpoint = next((value for name in _HTTP_ENDPOINTS if (value := os.environ.get(name))), "")
    options: dict[str, Any] = {"timeout": "60s", "connect_timeout": "10s"}
    if endpoint.startswith("http://"):
        options["allow_http"] = True
    more = {"endpoint": endpoint} if endpoint and url.startswith("s3") else {}
    retries = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
    with in_one_line(url):
        return obstore.store.from_url(url, client_options=options, retry_config=retries, **more)


def sha256_of(content: bytes | Path) -> str:
    """Return the SHA-256 of bytes or of a file, in hex digits."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.cache
def _obstore() -> Any:
    try:
        import obstore
        import obstore.store  # a module of its own
    except ImportError:
        raise StoreError(
            "runs in an object store need the package obstore", "In the clone: pip install '.[store]'"
        ) from None
    return obstore


def _digest_of(answer: Any) -> str | None:
    value = answer.attributes.get("sha256")
    return None if value is None else str(value)
