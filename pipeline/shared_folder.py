"""Files that another node has written into a folder that all nodes mount."""

from __future__ import annotations

import time
from collections.abc import Callable

FILE_ARRIVES_SECONDS = 90.0
"""How long a file of another node may stay unseen: NFS remembers for up to a minute that it was absent."""


def arrives(is_seen: Callable[[], bool]) -> bool:
    """Return whether what another node has written is seen here within the time that NFS may hide it."""
    deadline = time.monotonic() + FILE_ARRIVES_SECONDS
    while not is_seen():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True
