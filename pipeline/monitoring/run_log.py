"""What a run's leading worker has to say, as lines of a file, so that it reaches the user from any node.

    RUNS/state/RUN/said.log

Ray passes no output of its workers on; `pipeline.monitoring.run_monitor` says these lines on the driver.
"""

from __future__ import annotations

import contextlib
from pathlib import Path


class SaidFile:
    """The writer's side."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "said.log"

    def say(self, line: str) -> None:
        """Append a line; on a full disk it is lost, which is no reason to end a run."""
        with contextlib.suppress(OSError), self._path.open("a") as stream:
            stream.write(line.rstrip("\n") + "\n")


class SaidLines:
    """The reader's side: the lines that were written since it was made."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "said.log"
        self._read = self._path.stat().st_size if self._path.exists() else 0

    def new(self) -> list[str]:
        """Return the whole lines that were not returned before."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._read)
                content = stream.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode(errors="replace").splitlines()
