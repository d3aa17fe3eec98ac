"""What a public evaluator needs of each sample: integer counts of pixels, and the few facts some of them also read.

Array names: N samples, in the order of their `index`. Order matters: several evaluators add in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.protocols import Protocol

_COUNTS = ("intersection", "union", "target_area")
_OPTIONAL = {
    "confidence": np.float64,
    "image_ids": np.int64,
    "ref_ids": np.int64,
    "no_target": np.bool_,
    "predicted_no_target": np.bool_,
    "area_at_input": np.int64,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskCounts:
    """Counts of one split, arrays [N] of one length.

    Attributes:
        intersection: pixels of both masks, int64.
        union: pixels of either mask, int64.
        target_area: pixels of the true mask, int64.
        confidence: of the prediction, 0 .. 1; None stands for 1 everywhere. Only cgF1 reads it.
        image_ids: the image of each sample; evaluators that add up per image need it.
        ref_ids: the referred object of each sample; R-RefCOCO's evaluator adds up per ref.
        no_target: whether the data set says that the expression has no target; None: where the true mask is empty. A
            thin mask can be empty at the input size and still be a target.
        predicted_no_target: the answer of a no-target head; None: where the predicted mask is empty.
        area_at_input: pixels of the predicted mask at the network's input size; None: as at the size of the counts.

    Raises:
        ValueError: for arrays of other types or lengths, and for counts that no two masks have.
    """

    intersection: np.ndarray
    union: np.ndarray
    target_area: np.ndarray
    confidence: np.ndarray | None = None
    image_ids: np.ndarray | None = None
    ref_ids: np.ndarray | None = None
    no_target: np.ndarray | None = None
    predicted_no_target: np.ndarray | None = None
    area_at_input: np.ndarray | None = None

    def __post_init__(self) -> None:
        length = len(self.intersection)
        for name, kind in {**dict.fromkeys(_COUNTS, np.int64), **_OPTIONAL}.items():
            array = getattr(self, name)
            if array is not None and (array.dtype != kind or array.shape != (length,)):
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not {np.dtype(kind)} ({length},)")
        areas = (self.intersection, self.target_area - self.intersection, self.union - self.target_area)
        if any((area < 0).any() for area in areas):
            raise ValueError("no two masks have these counts: 0 <= intersection <= target_area <= union does not hold")

    def __len__(self) -> int:
        return len(self.intersection)

    @property
    def predicted_area(self) -> np.ndarray:
        """Pixels of the predicted mask, int64 [N]."""
        return self.union + self.intersection - self.target_area

    @property
    def without_target(self) -> np.ndarray:
        """Whether each expression has no target, bool [N]."""
        return self.target_area == 0 if self.no_target is None else self.no_target

    @property
    def answered_no_target(self) -> np.ndarray:
        """Whether each answer is "no target", bool [N]."""
        return self.predicted_area == 0 if self.predicted_no_target is None else self.predicted_no_target


def counts_of(samples: pd.DataFrame, protocol: Protocol, at_input: Protocol | None = None) -> MaskCounts:
    """Return the counts of per-sample rows (columns of SAMPLE_SCHEMA) under one protocol, sorted by `index`.

    Columns `confidence`, `no_target` and `predicted_no_target` are taken where the rows have them. Without `no_target`
    a sample has none where its mask is empty at the original size.

    Args:
        samples: with columns of both protocols.
        protocol: whose masks are compared.
        at_input: whose predicted masks `area_at_input` counts.
    """
    rows = samples.sort_values("index")
    target = f"target_area_{protocol.scored_at}"
    optional = {name: rows[name].to_numpy(kind) for name, kind in _OPTIONAL.items() if name in rows}
    if "target_area_original" in rows:
        optional.setdefault("no_target", rows["target_area_original"].to_numpy(np.int64) == 0)
    if at_input is not None:
        both, either = (rows[f"{kind}_{at_input.name}"].to_numpy(np.int64) for kind in ("intersection", "union"))
        optional["area_at_input"] = either + both - rows["target_area_input"].to_numpy(np.int64)
    return MaskCounts(
        intersection=rows[f"intersection_{protocol.name}"].to_numpy(np.int64),
        union=rows[f"union_{protocol.name}"].to_numpy(np.int64),
        target_area=rows[target].to_numpy(np.int64),
        image_ids=rows["image_id"].to_numpy(np.int64),
        ref_ids=rows["ref_id"].to_numpy(np.int64),
        **optional,
    )


def in_groups(ids: np.ndarray) -> list[np.ndarray]:
    """Return the positions of each group's samples, groups in the order of their first sample."""
    _, first, group = np.unique(ids, return_index=True, return_inverse=True)
    by_group = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1]) if len(ids) else []
    return [by_group[number] for number in np.argsort(first)]
