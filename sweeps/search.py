"""Rows from a space over any config fields: a grid of given values, or draws from functions of a seeded generator.

    >>> stages = ({"stages": (6, 12)}, {"stages": (3, 6, 9, 12)})
    >>> rows = grid({"optim.learning_rate": (5e-4, 1e-3), "model.fpn": stages})
    >>> rows[0].label
    'learning_rate=0.0005, fpn={stages=(6, 12)}'
    >>> len(rows), len(draws({"optim.learning_rate": lambda rng: 10 ** rng.uniform(-4, -2)}, count=8, seed=0))
    (4, 8)

A key is a dotted path of a field (`optim.learning_rate`), or of a part whose value is a dictionary of its fields.
Rows of a space are ordinary rows: trained on the whole budget, recorded, resumed and compared like any other.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sweeps.spec import Change, Row


def grid(space: Mapping[str, Sequence[Any]]) -> tuple[Row, ...]:
    """Return a row for every combination of the given values."""
    combinations = itertools.product(*space.values())
    return tuple(_row(dict(zip(space, values, strict=True))) for values in combinations)


def draws(space: Mapping[str, Callable[[random.Random], Any]], *, count: int, seed: int) -> tuple[Row, ...]:
    """Return `count` rows, each field drawn by its function; the same seed gives the same rows."""
    rng = random.Random(seed)
    return tuple(_row({path: draw(rng) for path, draw in space.items()}) for _ in range(count))


def _row(assignments: Mapping[str, Any]) -> Row:
    label = ", ".join(f"{path.rsplit('.', 1)[-1]}={_short(value)}" for path, value in assignments.items())
    return Row(label=label, changes=tuple(_change(path, value) for path, value in assignments.items()))


def _change(path: str, value: Any) -> Change:
    if isinstance(value, Mapping):
        return Change(part=path, fields=value)
    part, _, name = path.rpartition(".")
    if not part:
        raise ValueError(f"{path}: name a field of a part (optim.learning_rate)")
    return Change(part=part, fields={name: value})


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}={_short(inner)}" for name, inner in value.items()) + "}"
    return str(value)
