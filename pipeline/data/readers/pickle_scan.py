"""Walk a pickle's opcodes without running them, to bound the memo before the C unpickler allocates it.

Two opcodes name a memo index, and the C unpickler allocates up to it: four bytes of file can ask for 32 GB. The walk
must find where each opcode starts; one regular expression eats the fixed-size ones, and only strings need Python.
"""

from __future__ import annotations

import re

_NO_ARGUMENT = rb"[()\]}aesutld012N\x81\x85-\x89\x8f-\x94Rbo\x97\x98Q]"
_LENGTH_BYTES = {
    **dict.fromkeys(b"UC\x8c\x8a", 1),
    **dict.fromkeys(b"TXB\x8b", 4),
    **dict.fromkeys(b"\x8d\x8e\x96", 8),
}
_STOP = ord(".")


class MemoBombError(ValueError):
    """A memo index out of proportion to the file, or opcodes that cannot be walked."""


def check_memo(content: bytes) -> None:
    """Check that no memo index exceeds what a file of this size could fill.

    Raises:
        MemoBombError: when one does, or the bytes are no pickle.
    """
    fixed = _fixed_size_opcodes(len(content))
    at = 0
    while True:
        found = fixed.match(content, at)
        assert found is not None  # it matches the empty string too
        at = found.end()
        if at >= len(content):
            raise MemoBombError("it ends in the middle")
        opcode = content[at]
        if opcode == _STOP:
            return
        width = _LENGTH_BYTES.get(opcode)
        if width is None:
            raise MemoBombError(
                f"opcode {bytes([opcode])!r} at byte {at} is unknown or its memo index out of proportion"
            )
        at += 1 + width + int.from_bytes(content[at + 1 : at + 1 + width], "little")


def _fixed_size_opcodes(size: int) -> re.Pattern[bytes]:
    """Return a pattern of any run of opcodes whose length is known, with memo indices of at most about `size`."""
    low, high = (2, size >> 16) if size < 1 << 24 else (3, size >> 24)
    memo = rb"r[\s\S]{%d}[\x00-%s]\x00{%d}" % (low, re.escape(bytes([high])), 3 - low)
    digits = len(str(size))
    lines = rb"[SVIFLgP][^\n]*\n|[ic][^\n]*\n[^\n]*\n|p[0-9]{1,%d}\n" % digits
    binary = rb"[Khq\x80\x82][\s\S]|[M\x83][\s\S]{2}|[Jj\x84][\s\S]{4}|[G\x95][\s\S]{8}"
    return re.compile(rb"(?>%s|%s|%s|%s)*+" % (_NO_ARGUMENT, binary, memo, lines))
