"""Standard output and error that never end a command: a reader may be gone, a disk full, an encoding narrow."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any


class PatientStream(io.TextIOBase):
    """Writes to a stream until that fails, then drops the rest.

    Attributes:
        lost: whether anything was dropped.
    """

    def __init__(self, stream: Any) -> None:
        self.lost = False
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush what was written, or drop it."""
        self._try(self._stream.flush)

    def _try(self, action: Any) -> None:
        if self.lost:
            return
        try:
            action()
        except (OSError, ValueError):  # a reader that is gone, a full disk, a closed stream
            self.lost = True
            # Python flushes the stream again at its exit, where the same error would print a trace.
            with contextlib.suppress(OSError, ValueError):
                sink = os.open(os.devnull, os.O_WRONLY)
                os.dup2(sink, self._stream.fileno())
                os.close(sink)

    def isatty(self) -> bool:
        """Whether the stream is a terminal; a closed one is not (libraries ask at the exit of Python)."""
        return not self._stream.closed and bool(self._stream.isatty())

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return int(self._stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]  # TextIOBase has an attribute
        """The encoding of the stream."""
        return str(self._stream.encoding)

    @property
    def errors(self) -> str | None:  # type: ignore[override]  # TextIOBase has an attribute
        """What happens to letters that the encoding lacks."""
        return getattr(self._stream, "errors", None)

    @property
    def buffer(self) -> Any:
        """The stream of bytes below."""
        return self._stream.buffer


@contextlib.contextmanager
def patient_output() -> Iterator[tuple[PatientStream, PatientStream]]:
    """Put patient streams in the place of standard output and error while the block lasts; yields both."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):  # letters that the terminal's encoding lacks are escaped
            stream.reconfigure(errors="backslashreplace")
    patient = PatientStream(sys.stdout), PatientStream(sys.stderr)
    sys.stdout, sys.stderr = patient
    try:
        yield patient
    finally:
        for stream in patient:
            stream.flush()
        if (sys.stdout, sys.stderr) == patient:
            sys.stdout, sys.stderr = before
