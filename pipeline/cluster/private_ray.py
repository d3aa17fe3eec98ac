"""What a private Ray on this machine needs of its surroundings: a temporary folder, and a token that no file holds."""

from __future__ import annotations

import functools
import os
import secrets
import tempfile
from pathlib import Path

from sharedris.errors import InputError

_LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
_SOCKET_BYTES = 107
"""How long the path of a Unix socket may be on Linux (`sun_path` of unix(7), without its closing zero)."""


def require_temporary_folder() -> None:
    """Refuse a temporary folder in which Ray cannot make its files and sockets.

    Raises:
        InputError: with the remedy.
    """
    folder = _temporary_folder()
    length = len(os.fsencode(folder / _LONGEST_SOCKET))
    if length > _SOCKET_BYTES:
        raise InputError(
            f"Ray cannot use {folder} for temporary files: its sockets would have paths of {length} bytes, and the "
            f"system allows {_SOCKET_BYTES}",
            "Set RAY_TMPDIR to a short folder, such as /tmp",
        )
    try:
        (folder / "ray").mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder / "ray").close()
    except OSError as error:
        raise InputError(
            f"Ray cannot use {folder} for temporary files: {error.strerror}",
            "Set RAY_TMPDIR to a folder that can be written, such as /tmp",
        ) from None


def _temporary_folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")  # noqa: S108  # Ray's own order


def started_cluster() -> str | None:
    """Return the address of the cluster that `ray start` last started or joined on this host, or None.

    Ray keeps it in a file, from which it also resolves the address `auto`.
    """
    try:
        return (_temporary_folder() / "ray/ray_current_cluster").read_text().strip() or None
    except OSError:
        return None


def set_token() -> None:
    """Give the private cluster its token by the environment, unless the user has chosen how to authenticate.

    Without it Ray writes the token to ~/.ray/auth_token, readable by every user of the machine, and fails where the
    home folder cannot be written. Ray keeps the first token of a process, so that a second cluster gets the same one.
    """
    has_token = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token" and not has_token:
        os.environ["RAY_AUTH_TOKEN"] = _token()


@functools.cache
def _token() -> str:
    return secrets.token_hex(32)
