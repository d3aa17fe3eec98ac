"""Valid files changed a little: bytes of any file, and values of what JSON and pickles hold."""

from __future__ import annotations

import copy
import random
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, 2**31, 2**63, 2**70, -(2**63), 10**400, 1e308),
    *(float("nan"), float("inf"), "", "x", "1", "1.0", "../x", "/etc/passwd", "a\x00b", "\ud800", "\x1b[31m", "é"),
    *("x" * 5000, [], [[]], [[1, 2]], [1, 2], {}, {"a": 1}, [None], [{}], {"size": [1, 1], "counts": "1"}),
)
ODD_BYTES = (b"", b"\x00", b"\xff", b"\xff\xff\xff\x7f", b"\x00" * 64, b"\n", b'"', b"{", b"]", b",", b";", b"9" * 40)


def changed_bytes(content: bytes, random_: random.Random) -> bytes:
    """Return a file with one to four places changed, cut, repeated or replaced."""
    changed = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(changed) + 1)
        kind = random_.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random_.randrange(8)
        elif kind == 1:
            changed[at:at] = random_.choice(ODD_BYTES)
        elif kind == 2:
            del changed[at : at + random_.randint(1, 200)]
        elif kind == 3:
            del changed[at:]
        elif kind == 4:
            piece = random_.choice(ODD_BYTES)
            changed[at : at + len(piece)] = piece
        else:
            changed[at:at] = changed[at : at + random_.randint(1, 400)]
    return bytes(changed)


def changed_value(value: Any, random_: random.Random) -> Any:
    """Return a nested value with one to three of its parts replaced, removed or doubled."""
    changed = copy.deepcopy(value)
    for _ in range(random_.randint(1, 3)):
        place = _random_place(changed, random_)
        if place is None:
            return random_.choice(ODD_VALUES)
        parent, key = place
        kind = random_.randrange(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif kind == 2 and isinstance(parent, dict):
            parent[random_.choice(["x", "", "\ud800", "id"])] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(random_.choice(ODD_VALUES))
    return changed


def _random_place(value: Any, random_: random.Random) -> tuple[Any, Any] | None:
    """Return a container and a key in it, anywhere below a value; None where there is none."""
    place = None
    while isinstance(value, dict | list) and value:
        key = random_.choice(list(value)) if isinstance(value, dict) else random_.randrange(len(value))
        place = (value, key)
        value = value[key]
        if random_.random() < 0.15:  # so that whole branches are changed as well as leaves
            break
    return place
