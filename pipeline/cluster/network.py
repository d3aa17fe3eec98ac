"""Which network interface carries an address (Linux), and whether anybody answers at one."""

from __future__ import annotations

import fcntl
import socket
import struct

from sharedris.errors import InputError

_SIOCGIFADDR = 0x8915


def interface_of(address: str) -> str | None:
    """Return the name of the interface that holds this IPv4 address, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                reply = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue
            if socket.inet_ntoa(reply[20:24]) == address:
                return name
    return None


def refuse_silent_address(address: str, *, timeout_seconds: float = 10.0) -> None:
    """Refuse a HOST:PORT where nobody listens: Ray itself would wait for minutes and say little.

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
