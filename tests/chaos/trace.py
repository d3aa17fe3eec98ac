"""The steps that runs have taken, each with the process that took it, as `injected/sitecustomize.py` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class Trace:
    """Reads the file of steps as it grows.

    Args:
        path: of lines `RUN PROCESS STEPS`, one after each step of rank zero.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self._newest: dict[str, tuple[int, int]] = {}
        self._furthest: dict[str, int] = {}
        self._lost: list[int] = []

    def read(self) -> Mapping[str, int]:
        """Return the most steps of each run so far."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                text = stream.read()
        except FileNotFoundError:
            return self._furthest
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            run, process, steps = line.split()
            self._add(run, int(process), int(steps))
        return self._furthest

    def _add(self, run: str, process: int, steps: int) -> None:
        before = self._newest.get(run)
        if before is not None and before[0] != process:
            self._lost.append(max(0, before[1] - (steps - 1)))
        self._newest[run] = process, steps
        self._furthest[run] = max(steps, self._furthest.get(run, 0))

    def take_lost(self) -> tuple[int, ...]:
        """Return the steps that were trained again after each restart since the last call."""
        self.read()
        lost, self._lost = tuple(self._lost), []
        return lost
