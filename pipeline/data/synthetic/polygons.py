"""Trace a mask's outline into polygons that pycocotools draws back to the same pixels."""

from __future__ import annotations

import numpy as np

_TURNS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def trace_outline(mask_HW: np.ndarray) -> list[list[float]]:
    """Return the outer rings of a mask without holes, along pixel edges, x and y in turn.

    Each edge is walked with the object to its right. Where two corners touch, the walk turns right, so that parts that
    touch only at a corner become two rings.
    """
    edges = _edges(mask_HW)
    rings: list[list[float]] = []
    while edges:
        start = min(edges)
        rings.append(_walk(edges, start))
    return rings


def _edges(mask_HW: np.ndarray) -> dict[tuple[int, int], set[int]]:
    """Return, for each corner, the directions (0 right, 1 down, 2 left, 3 up) of the edges that leave it."""
    padded = np.pad(mask_HW.astype(bool), 1)
    inside = padded[1:-1, 1:-1]
    edges: dict[tuple[int, int], set[int]] = {}
    sides = (
        (inside & ~padded[:-2, 1:-1], 0, 0, 0),  # above is background: the top edge runs right
        (inside & ~padded[1:-1, 2:], 1, 1, 0),
        (inside & ~padded[2:, 1:-1], 2, 1, 1),
        (inside & ~padded[1:-1, :-2], 3, 0, 1),
    )
    for border_HW, direction, dx, dy in sides:
        for y, x in zip(*np.nonzero(border_HW), strict=True):
            edges.setdefault((int(x) + dx, int(y) + dy), set()).add(direction)
    return edges


def _walk(edges: dict[tuple[int, int], set[int]], start: tuple[int, int]) -> list[float]:
    at, direction = start, min(edges[start])
    first = direction
    ring: list[float] = []
    previous = -1
    while True:
        if direction != previous:
            ring += [float(at[0]), float(at[1])]
        edges[at].discard(direction)
        if not edges[at]:
            del edges[at]
        dx, dy = _TURNS[direction]
        at, previous = (at[0] + dx, at[1] + dy), direction
        if at == start and first not in edges.get(at, ()):
            return ring
        direction = next(turn % 4 for turn in (direction + 1, direction, direction + 3) if turn % 4 in edges[at])
