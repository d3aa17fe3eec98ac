"""Bound what a pickle can ask for by walking its opcodes with `pickletools`, which creates and runs nothing.

Four things are small in the file and large in memory or time: a memo index (the C unpickler allocates up to it), a
value that is used again and again (250 bytes can hold a tuple whose hash takes 2^60 steps, or a list whose repr has
10^30 letters), nesting (repr and == recurse), and keys of one hash (tuples of -1 and -2, multiples of 2^61 - 1), with
which a dictionary takes quadratic time. The walk keeps the size of each value in place of the value.
"""

from __future__ import annotations

import io
import pickletools
from typing import Any

MAX_EXPANSION = 100
"""Most that repeated use may add, in multiples of the file's size; in RefCOCO's files it adds half of it."""
MIN_BUDGET = 1 << 20
MAX_DEPTH = 100
MAX_LONG_NUMBERS = 1000
"""Whole numbers of more than 60 bits, which alone can have the hash of another one; annotations have none."""

_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_SETS_KEYS = {"SETITEM": 2, "SETITEMS": 2, "ADDITEMS": 1, "DICT": 2, "FROZENSET": 1}
"""Opcodes that hash -> every how many operands is a key."""
_GROWS = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})


class PickleBombError(ValueError):
    """A pickle that asks for far more than its size, or whose opcodes do not fit together."""


class _Container:
    """How large a container is when everything that it uses twice is written out twice, and how deep it nests."""

    __slots__ = ("depth", "is_used_again", "nodes")

    def __init__(self) -> None:
        self.nodes, self.depth, self.is_used_again = 1, 1, False


_Size = _Container | int
"""Of a value: its letters and one where it is a string, a number or None."""


def check_size(content: bytes) -> None:
    """Check memo indices, repeated use and nesting of a pickle before it is loaded.

    Raises:
        PickleBombError: when one is out of proportion to the file.
        ValueError: when the bytes cannot be walked.
    """
    walk, stream = _Walk(len(content)), io.BytesIO(content)
    position: int | None = 0
    while True:
        try:
            for opcode, argument, position in pickletools.genops(stream):  # noqa: B007  (read below)
                walk.step(opcode, argument)
            return
        except (IndexError, KeyError):
            raise PickleBombError("its opcodes do not fit together") from None
        except UnicodeDecodeError:
            # A Python 2 string beyond ASCII, which genops has read and cannot decode: go on after it. The unpickler
            # refuses every other opcode that ends here.
            walk.stack.append(stream.tell() - (position or 0))


class _Walk:
    """The unpickler's stack, marks and memo, with sizes in place of values."""

    def __init__(self, file_bytes: int) -> None:
        self.max_index = file_bytes
        self.budget = max(MIN_BUDGET, MAX_EXPANSION * file_bytes)
        self.stack: list[_Size] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Size] = {}
        self.long_numbers = 0

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        if name in _PUTS:
            self._remember(argument)
        elif name in _GETS:
            self._use_again(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name == "MEMOIZE":
            self._remember(len(self.memo))
        elif name == "DUP":
            self._use_again(self.stack[-1])
        elif name == "POP" and self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        elif opcode.stack_before:
            self._consume(opcode)
        elif opcode.stack_after:
            is_leaf = opcode.arg is not None or not name.startswith("EMPTY_")
            self._count_long_number(argument)
            self.stack.append(1 + _length(argument) if is_leaf else _Container())

    def _remember(self, index: int) -> None:
        if not 0 <= index <= self.max_index:
            raise PickleBombError(f"the memo index {index} is out of proportion to its {self.max_index} bytes")
        self.memo[index] = self.stack[-1]

    def _count_long_number(self, argument: Any) -> None:
        if isinstance(argument, int) and argument.bit_length() > 60:
            self.long_numbers += 1
            if self.long_numbers > MAX_LONG_NUMBERS:
                raise PickleBombError(f"it has more than {MAX_LONG_NUMBERS} whole numbers of more than 60 bits")

    def _use_again(self, size: _Size) -> None:
        if isinstance(size, int):
            self.budget -= size
        else:
            size.is_used_again = True
            self.budget -= size.nodes
        if self.budget < 0:
            raise PickleBombError("repeated use of the same values makes it expand out of proportion to its size")
        self.stack.append(size)

    def _consume(self, opcode: pickletools.OpcodeInfo) -> None:
        """Take an opcode's operands off the stack and put its result there."""
        before, stack = opcode.stack_before, self.stack
        if pickletools.markobject in before:
            first = self.marks.pop() - before.index(pickletools.markobject)
        else:
            first = len(stack) - len(before)
        if first < 0:
            raise IndexError(first)
        operands = stack[first:]
        del stack[first:]
        if opcode.name in _GROWS:
            grown = operands.pop(0)
            if isinstance(grown, int):
                raise IndexError(grown)
            _check_keys(opcode.name, operands)
            stack.append(_grow(grown, operands))
        elif opcode.stack_after:
            _check_keys(opcode.name, operands)
            stack.append(_grow(_Container(), operands))


def _check_keys(opcode: str, operands: list[_Size]) -> None:
    """Refuse keys that are containers: tuples of -1 and -2 have 2^n values and one hash."""
    if opcode in _SETS_KEYS and any(not isinstance(key, int) for key in operands[:: _SETS_KEYS[opcode]]):
        raise PickleBombError("a key of a dictionary, or an element of a set, is not a string or a number")


def _grow(container: _Container, children: list[_Size]) -> _Container:
    # The sizes that were counted at each use are final only because nothing grows after it was used. A list that holds
    # itself, whose size has no end, is refused by the same rule.
    if container.is_used_again:
        raise PickleBombError("a container grows after it was used, or holds itself")
    for child in children:
        if isinstance(child, int):
            container.nodes += child
        else:
            container.nodes += child.nodes
            container.depth = max(container.depth, child.depth + 1)
    if container.depth > MAX_DEPTH:
        raise PickleBombError(f"it nests more than {MAX_DEPTH} deep")
    return container


def _length(argument: Any) -> int:
    """Return what an argument takes: letters of a string, bytes of a whole number."""
    if isinstance(argument, int):
        return argument.bit_length() >> 3
    return len(argument) if isinstance(argument, str | bytes | bytearray) else 0
