"""Which network interface has an address, and whether anything listens at one."""

from __future__ import annotations

import socket

import psutil

from sharedris.errors import InputError


def interface_of(address: str) -> str | None:
    """Return the name of the interface that has this address, or None."""
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return str(name)
    return None


def refuse_silent_address(address: str, *, timeout_seconds: float = 10.0) -> None:
    """Refuse a HOST:PORT where nothing listens: Ray waits for minutes there and reports little.

    Raises:
        InputError: naming the address and why.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" and the like: Ray finds out
    try:
        socket.create_connection((host, int(port)), timeout=timeout_seconds).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster at RAY_ADDRESS={address}: {error.strerror or error}",
            "Start one there (docs/cluster.md), or unset RAY_ADDRESS to run on this machine",
        ) from None
