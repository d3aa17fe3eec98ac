"""Kinds of damage to a file, for tests that try each kind on each file."""

from __future__ import annotations

from collections.abc import Callable

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "garbage": lambda whole: bytes((7 * place + 13) % 256 for place in range(200)),
}
"""Name -> what becomes of the bytes of a whole file."""
