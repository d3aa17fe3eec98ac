"""Which network interface has an address, and whether a Ray head answers at one."""

from __future__ import annotations

import os
import socket

import psutil

from sharedris.errors import InputError

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_EMPTY_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS_TYPE = 4


def interface_of(address: str) -> str | None:
    """Return the name of the interface that has this address, or None."""
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return str(name)
    return None


def require_ray_head(address: str, *, timeout_seconds: float = 4.0) -> None:
    """Refuse a HOST:PORT where no Ray head answers: Ray itself would wait there without end.

    A head is a gRPC server: the first thing that one sends is a SETTINGS frame of HTTP/2 (RFC 9113, section 3.4).

    Raises:
        InputError: naming the address and why, after at most twice the timeout.
    """
    if address.startswith("ray://"):
        raise InputError(
            f"RAY_ADDRESS={address} is an address of Ray Client, which cannot run a training",
            "Start the command on the head with RAY_ADDRESS=HOST:PORT, or by `ray job submit` (docs/cluster.md)",
        )
    if address.startswith(("http://", "https://")):
        raise InputError(
            f"RAY_ADDRESS={address} is the address of the job server, which takes only `ray job` commands",
            "Submit the command there (ray job submit -- COMMAND), or set RAY_ADDRESS=HOST:PORT (port 6379 by default)",
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" and the like: Ray finds out
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_seconds) as connection:
            problem = None if os.environ.get("RAY_USE_TLS") == "1" else _problem_of(connection)
    except (OSError, OverflowError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    if problem is not None:
        raise InputError(
            f"no Ray cluster at RAY_ADDRESS={address}: {problem}",
            "Start one there (docs/cluster.md), or unset RAY_ADDRESS to run on this machine",
        )


def _problem_of(connection: socket.socket) -> str | None:
    """Return why the server of a connection is not a gRPC server, or None."""
    try:
        connection.sendall(_HTTP2_PREFACE + _EMPTY_SETTINGS)
        header = b""
        while len(header) < len(_EMPTY_SETTINGS) and (more := connection.recv(len(_EMPTY_SETTINGS) - len(header))):
            header += more
    except TimeoutError:
        return "the program that listens there does not answer"
    is_grpc = len(header) == len(_EMPTY_SETTINGS) and header[3] == _SETTINGS_TYPE
    return None if is_grpc else "another program listens there"
