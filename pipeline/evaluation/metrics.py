"""The metrics, each declared once, and the scores of a split from its per-sample rows.

oIoU = sum of intersections / sum of unions; mIoU = mean of per-sample IoU; P@X = share of samples with IoU > X. Where
both masks are empty IoU is 1 and no pixels are added; such samples are counted. All sums are of integers, so the
scores do not depend on which worker computed which sample.

Splits with samples without a target have four more scores, by ReLA's rules (henghuiding/ReLA, refer_evaluation.py):
N-acc = share of the samples without a target whose mask is empty; T-acc = share of the others whose mask is not;
gIoU = mean of per-sample IoU, where a sample without a target counts 1 if its mask is empty and 0 if not;
cIoU = sum of intersections / sum of unions. Every other split has null for all four.

A metric in METRICS is a column of records, a metric in MLflow, a column of tables with its intervals, and a score of
`sharedris runs`. A plugin adds its own under the same rules (docs/extending.md). Nothing here imports torch.

Array names: N samples.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.evaluation.boundary_iou import boundary_iou
from pipeline.evaluation.protocols import Protocol
from pipeline.records import RECORD_SCHEMA

log = logging.getLogger(__name__)

PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One score of a split: the mean of one number per sample, or a ratio of two sums over the samples.

    Every image can then be drawn again with its samples, so each metric has intervals and tests without code.

    Attributes:
        name: column of the records and name in MLflow: lower-case letters, digits and underscores.
        heading: as tables and command lines print it.
        columns: what `formula` receives, in order. `intersection`, `union`, `iou`, `target_area` and `pixels` (those of
            the image) are of the protocol; any other is a column of the per-sample rows, such as `area_ratio`.
        formula: arrays [N] of the columns -> array [N], whose mean is the score, or two arrays [N], whose sums are
            divided.
        better: whether a higher or a lower score is better; "" where the table ranks neither.
        unit: "%" for a ratio 0 .. 1, which tables print times 100; any other is printed as it is.
        decimals: that tables print.
        role: `main` scores are tested and stand in every table and in `sharedris runs`, `detail` scores stand in the
            tables of a user's sweeps and on the page, `trivial` ones are of answers that read no image.
        nothing: the score where the second sum is 0.
        group: heading above those of the metrics that are read together.
        no_target: a score of splits with samples without a target only; null for every other split.
        per_mask: a number per sample from its masks: (predicted, target), bool arrays of the size at which the protocol
            scores, to a finite number. `formula` receives it as the column `per_mask`.
    """

    name: str
    heading: str
    columns: tuple[str, ...]
    formula: Callable[..., Any]
    better: Literal["max", "min", ""] = "max"
    unit: str = "%"
    decimals: int = 2
    role: Literal["main", "detail", "trivial"] = "main"
    nothing: float = 1.0
    group: str = ""
    no_target: bool = False
    per_mask: Callable[[np.ndarray, np.ndarray], float] | None = None

    @property
    def factor(self) -> float:
        """What a score is multiplied with where it is printed."""
        return 100.0 if self.unit == "%" else 1.0

    def text(self, score: float) -> str:
        """Return a score as tables print it."""
        return f"{self.factor * score:.{self.decimals}f}"


def iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Return per-sample IoU [N] as float64 from integer counts [N]; 1 where the union is empty."""
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def _precision_above(level: float) -> Metric:
    return Metric(
        name=f"precision_at_{round(100 * level)}",
        heading=f"P@{level}",
        columns=("iou",),
        formula=lambda iou: iou > level,
        role="detail",
    )


def _has_no_target(target_area: np.ndarray) -> np.ndarray:
    """Return which samples have no target [N]: by the original mask, since a small object may vanish at input size."""
    return target_area == 0


def _left_empty(union: np.ndarray, target_original: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    without = _has_no_target(target_original)
    return without & (union == 0), without


def _answered(
    intersection: np.ndarray, union: np.ndarray, target: np.ndarray, target_original: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    mask_area = union + intersection - target
    with_target = ~_has_no_target(target_original)
    return with_target & (mask_area > 0), with_target


def _generalized_iou(intersection: np.ndarray, union: np.ndarray, target_original: np.ndarray) -> np.ndarray:
    """Return per-sample IoU [N]; a target that vanished at input size and is not found counts 0, as in ReLA's code."""
    found = intersection / np.maximum(union, 1)
    return np.where(_has_no_target(target_original), union == 0, found)


_OF_NO_TARGET = (
    Metric(
        name="n_acc",
        heading="N-acc",
        columns=("union", "target_area_original"),
        formula=_left_empty,
        role="detail",
        group="Accuracy",
        no_target=True,
    ),
    Metric(
        name="t_acc",
        heading="T-acc",
        columns=("intersection", "union", "target_area", "target_area_original"),
        formula=_answered,
        role="detail",
        group="Accuracy",
        no_target=True,
    ),
    Metric(
        name="giou",
        heading="gIoU",
        columns=("intersection", "union", "target_area_original"),
        formula=_generalized_iou,
        role="detail",
        no_target=True,
    ),
    Metric(
        name="ciou",
        heading="cIoU",
        columns=("intersection", "union"),
        formula=lambda above, below: (above, below),
        role="detail",
        no_target=True,
    ),
)


def _trivial(name: str, columns: tuple[str, ...], formula: Callable[..., Any]) -> Metric:
    """Return a score of an answer that reads no image."""
    heading = name.replace("_", " ").replace("oiou", "oIoU").replace("miou", "mIoU")
    return Metric(name=name, heading=heading, columns=columns, formula=formula, role="trivial")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="oiou", heading="oIoU", columns=("intersection", "union"), formula=lambda above, below: (above, below)
        ),
        Metric(name="miou", heading="mIoU", columns=("iou",), formula=lambda iou: iou),
        *(_precision_above(level) for level in PRECISION_THRESHOLDS),
        Metric(
            name="boundary_iou",
            heading="boundary IoU",
            columns=("per_mask",),
            formula=lambda value: value,
            role="detail",
            per_mask=boundary_iou,
        ),
        *_OF_NO_TARGET,
        _trivial("all_background_oiou", ("target_area",), lambda target: (np.zeros_like(target), target)),
        _trivial("all_background_miou", ("target_area",), lambda target: iou(np.zeros_like(target), target)),
        _trivial("all_image_oiou", ("target_area", "pixels"), lambda target, pixels: (target, pixels)),
        _trivial("all_image_miou", ("target_area", "pixels"), iou),
    )
}
"""Name -> metric. Read it when it is needed and keep no copy: plugins add to it."""

BASE_METRICS = frozenset(METRICS) & frozenset(RECORD_SCHEMA.names)
"""Names of the metrics with a column in RECORD_SCHEMA; every other one, of a plugin or not, gets one after them."""


def metrics_of(*roles: str) -> list[Metric]:
    """Return the metrics of these roles, in the order of METRICS."""
    return [metric for metric in METRICS.values() if metric.role in roles]


def shown_metrics(rows: pd.DataFrame, *roles: str) -> list[Metric]:
    """Return the metrics of these roles that a table of records shows: those that may be null only where rows have any.

    Args:
        rows: of records; a metric without a column there has no score.
        roles: of `Metric`.
    """
    return [
        metric
        for metric in metrics_of(*roles)
        if not (metric.no_target or is_of_masks(metric)) or (metric.name in rows and rows[metric.name].notna().any())
    ]


def is_of_masks(metric: Metric) -> bool:
    """Return whether a metric was added to the base after its first records, which have no number per mask."""
    return metric.per_mask is not None and metric.name in BASE_METRICS


def added_metrics() -> list[Metric]:
    """Return the metrics that the base schema of records has no column for."""
    return [metric for name, metric in METRICS.items() if name not in BASE_METRICS]


def record_schema() -> pa.Schema:
    """Return the schema of records as this process writes them: RECORD_SCHEMA, then a column per added metric."""
    return pa.schema([*RECORD_SCHEMA, *(pa.field(metric.name, pa.float64()) for metric in added_metrics())])


def columns_in_file(metric: Metric, protocol: Protocol) -> list[str]:
    """Return the columns of the per-sample file that a metric needs under a protocol."""
    of_protocol = {
        "intersection": [f"intersection_{protocol.name}"],
        "union": [f"union_{protocol.name}"],
        "iou": [f"intersection_{protocol.name}", f"union_{protocol.name}"],
        "target_area": [f"target_area_{protocol.scored_at}"],
        "pixels": ["height", "width"],
        "per_mask": [f"{metric.name}_{protocol.name}"],
    }
    return list(dict.fromkeys(name for column in metric.columns for name in of_protocol.get(column, [column])))


def sums_of(
    metric: Metric, samples: pd.DataFrame, protocol: Protocol, input_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what each sample adds above [N] and below [N] the fraction bar of a metric.

    Args:
        samples: at least the columns of `columns_in_file`.
        input_size: side of the model's input in pixels.

    Raises:
        ValueError: when the formula returns something else than one or two arrays [N].
    """
    names = [f"{metric.name}_{protocol.name}" if name == "per_mask" else name for name in metric.columns]
    found = metric.formula(*(_column(name, samples, protocol, input_size) for name in names))
    above, below = found if isinstance(found, tuple) else (found, np.ones(len(samples), dtype=np.int64))
    for array in (above, below):
        if np.shape(array) != (len(samples),):
            raise ValueError(
                f"its formula returns shape {np.shape(array)} for {len(samples)} samples, not ({len(samples)},)"
            )
    return np.asarray(above), np.asarray(below)


def _column(name: str, samples: pd.DataFrame, protocol: Protocol, input_size: int) -> np.ndarray:
    if name in ("intersection", "union"):
        return samples[f"{name}_{protocol.name}"].to_numpy()
    if name == "iou":
        return iou(*(_column(each, samples, protocol, input_size) for each in ("intersection", "union")))
    if name == "target_area":
        return samples[f"target_area_{protocol.scored_at}"].to_numpy()
    if name == "pixels":
        if protocol.scored_at == "input":
            return np.full(len(samples), input_size**2, dtype=np.int64)
        return samples["height"].to_numpy(np.int64) * samples["width"].to_numpy(np.int64)
    return samples[name].to_numpy()


def ratio(above: np.ndarray, below: np.ndarray, nothing: float = 1.0) -> float:
    """Return the ratio of two sums; `nothing` where the second is 0. Integers are added as Python's, without loss."""
    total = below.sum().item()
    return above.sum().item() / total if total else nothing


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one split under one protocol; `values` has each metric by name, None where it could not be computed."""

    samples: int
    images: int
    empty_unions: int
    values: dict[str, float | None]


def score(samples: pd.DataFrame, protocol: Protocol, *, input_size: int) -> Scores:
    """Return the scores of per-sample rows (columns of SAMPLE_SCHEMA) under one protocol.

    Raises:
        ValueError: when there are no samples, or a sample is missing or counted twice.
    """
    index = np.sort(samples["index"].to_numpy())
    if len(index) == 0 or not np.array_equal(index, np.arange(len(index))):
        raise ValueError(f"{len(index)} rows do not hold each sample 0 .. N-1 exactly once")
    samples = samples.sort_values("index")
    return Scores(
        samples=len(samples),
        images=int(samples["image_id"].nunique()),
        empty_unions=int((samples[f"union_{protocol.name}"] == 0).sum()),
        values=values_of(METRICS.values(), samples, protocol, input_size),
    )


def values_of(
    metrics: Iterable[Metric], samples: pd.DataFrame, protocol: Protocol, input_size: int
) -> dict[str, float | None]:
    """Return the named metrics of the samples, sorted by index."""
    return {metric.name: _value(metric, samples, protocol, input_size) for metric in metrics}


def _has_numbers(metric: Metric, samples: pd.DataFrame, protocol: Protocol) -> bool:
    """Return whether rows have the numbers per mask: earlier ones have none, nor have rules that are no protocol."""
    (column,) = columns_in_file(metric, protocol)
    return column in samples and bool(samples[column].notna().all())


def _value(metric: Metric, samples: pd.DataFrame, protocol: Protocol, input_size: int) -> float | None:
    """Return one score. A plugin's metric that fails has no score: scoring runs after hours of training."""
    if metric.no_target and not _has_no_target(samples["target_area_original"].to_numpy()).any():
        return None
    if is_of_masks(metric) and not _has_numbers(metric, samples, protocol):
        return None
    try:
        value = ratio(*sums_of(metric, samples, protocol, input_size), metric.nothing)
        if not math.isfinite(value):
            raise ValueError(f"its score is {value}")
        return float(value)
    except Exception as error:
        if metric.name in BASE_METRICS:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        log.warning("metric %s has no score under protocol %s: %s", metric.name, protocol.name, reason)
        return None
