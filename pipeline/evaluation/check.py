"""Checks of added metrics and protocols before a run starts: a run must not train for hours and then fail to score."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.evaluation.metrics import BASE_METRICS, METRICS, Metric, columns_in_file, sums_of
from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.records import RECORD_SCHEMA, SAMPLE_SCHEMA
from sharedris.errors import InputError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SIDE = 4


def check_scoring() -> None:
    """Check names, columns and rules of every metric and protocol on a few made-up samples.

    Raises:
        InputError: for one that breaks its contract; names it, its file and the contract.
    """
    for key, protocol in PROTOCOLS.items():
        _check_name("protocol", key, protocol.name, protocol.binarize)
        if protocol.scored_at not in ("original", "input"):
            raise _broken("protocol", key, protocol.binarize, f"scored_at is {protocol.scored_at!r}")
        _check_binarize(protocol)
    for key, metric in METRICS.items():
        _check_name("metric", key, metric.name, metric.formula)
        if metric.name in RECORD_SCHEMA.names and metric.name not in BASE_METRICS:
            raise _broken("metric", key, metric.formula, f"records have another column {key}")
        _check_per_mask(metric)
        for protocol in PROTOCOLS.values():
            _check_formula(metric, protocol)


def _check_name(kind: str, key: str, name: str, rule: Callable[..., Any]) -> None:
    if key != name:
        raise _broken(kind, key, rule, f"it is registered as {key!r} and named {name!r}")
    if not _NAME.fullmatch(name):
        raise _broken(kind, key, rule, "a name has lower-case letters, digits and underscores, since columns take it")


def _check_binarize(protocol: Protocol) -> None:
    import torch

    size = (_SIDE + 1, _SIDE + 2)
    try:
        mask = protocol.binarize(torch.linspace(0, 1, _SIDE**2).reshape(_SIDE, _SIDE), size, 0.35)
        got = f"{str(mask.dtype).removeprefix('torch.')} {tuple(mask.shape)}"
    except Exception as error:
        got = " ".join(f"{type(error).__name__}: {error}".split())
    if got != f"bool {size}":
        raise _broken("protocol", protocol.name, protocol.binarize, f"binarize gives {got}, not a bool mask {size}")
    if protocol.resize is not None:
        _check_resize(protocol, size)


def _check_resize(protocol: Protocol, size: tuple[int, int]) -> None:
    """Check that `resize` and `binarize` are one rule: a protocol made by `replace` keeps the resize of the other."""
    import torch

    assert protocol.resize is not None
    map_HW = torch.linspace(0, 1, _SIDE**2).reshape(_SIDE, _SIDE)
    for threshold in (0.05, 0.35, 0.5, 0.95):
        try:
            is_same = bool(
                (protocol.binarize(map_HW, size, threshold) == (protocol.resize(map_HW, size) > threshold)).all()
            )
            got = "another mask than resize with the same threshold"
        except Exception as error:
            is_same, got = False, " ".join(f"{type(error).__name__}: {error}".split())
        if not is_same:
            raise _broken("protocol", protocol.name, protocol.binarize, f"binarize at {threshold} gives {got}")


def _check_per_mask(metric: Metric) -> None:
    if metric.per_mask is None:
        return
    empty, whole = np.zeros((_SIDE, _SIDE + 1), dtype=bool), np.ones((_SIDE, _SIDE + 1), dtype=bool)
    for mask, target in ((empty, empty), (empty, whole), (whole, empty), (whole, whole)):
        try:
            got = f"{float(metric.per_mask(mask, target))}"
        except Exception as error:
            got = " ".join(f"{type(error).__name__}: {error}".split())
        if got in ("nan", "inf", "-inf") or ": " in got:
            raise _broken("metric", metric.name, metric.per_mask, f"per_mask gives {got}, not a finite number")


def _check_formula(metric: Metric, protocol: Protocol) -> None:
    columns = columns_in_file(metric, protocol)
    missing = [name for name in columns if name not in sample_schema().names]
    if missing:
        raise _broken("metric", metric.name, metric.formula, f"per-sample rows have no column {', '.join(missing)}")
    try:
        sums_of(metric, _made_up_samples(), protocol, _SIDE)
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise _broken("metric", metric.name, metric.formula, " ".join(reason.split())) from None


def _made_up_samples() -> pd.DataFrame:
    """Return three rows of `sample_schema` with plausible values: a hit, a miss and two empty masks."""
    texts = {pa.string(): ["a", "b c", "d"], pa.binary(): [b"0", b"1", b"2"]}
    rows = pd.DataFrame(
        {
            field.name: texts.get(field.type, np.arange(3, dtype=field.type.to_pandas_dtype()))
            for field in sample_schema()
            if field.type in texts or pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        }
    )
    counts: dict[str, list[float]] = {"intersection": [4, 0, 0], "union": [8, 3, 0], "iou": [0.5, 0.0, 1.0]}
    for name in PROTOCOLS:
        for kind, values in counts.items():
            rows[f"{kind}_{name}"] = values
    for name in SAMPLE_SCHEMA.names:
        if name.startswith("target_area"):
            rows[name] = [6, 3, 0]
    return rows.assign(height=_SIDE, width=_SIDE)


def _broken(kind: str, name: str, rule: Callable[..., Any], reason: str) -> InputError:
    try:
        file = inspect.getsourcefile(rule) or "?"
    except TypeError:
        file = "?"
    return InputError(f"{kind} {name!r} of {file}: {reason}", "docs/extending.md shows the contract")
