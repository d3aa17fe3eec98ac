"""How a predicted mask is scored: the named, versioned protocols.

All of them start from the same logits of one forward pass; every record names its own, and a table never mixes two.

A protocol in PROTOCOLS has columns in the per-sample rows, a row per split in records, and tables. Plugins add theirs
(docs/extending.md). torch is imported when a mask is made, so that reports know the protocols without it.

Shapes: H, W logit map; h, w the size at which the protocol scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from pipeline.records import SAMPLE_SCHEMA

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A scoring rule.

    Attributes:
        name: as records and captions print it.
        version: raised when the rule changes, so that old and new numbers never share a table.
        rule: the rule in words.
        scored_at: whether predictions are compared at the image's original size or at the model's input size.
        binarize: (probabilities [H, W], (h, w), threshold) -> bool mask [h, w].
        resize: (probabilities [H, W], (h, w)) -> probabilities [h, w], whose comparison with the threshold is the same
            mask; None for another rule. With it, scores over many thresholds take one resize.
    """

    name: str
    version: int
    rule: str
    scored_at: Literal["original", "input"]
    binarize: Callable[[Tensor, Size, float], Tensor]
    resize: Callable[[Tensor, Size], Tensor] | None = None


def _threshold_then_resize(probability_HW: Tensor, size: Size, threshold: float) -> Tensor:
    import torch.nn.functional as F

    mask_HW = (probability_HW > threshold).float()
    return F.interpolate(mask_HW[None, None], size=size, mode="nearest-exact")[0, 0] > 0.5


def _nearest(probability_HW: Tensor, size: Size) -> Tensor:
    """Resize nearest: it only copies values, so it may come before the threshold as well as after it."""
    import torch.nn.functional as F

    return F.interpolate(probability_HW[None, None], size=size, mode="nearest-exact")[0, 0]


def _bilinear(probability_HW: Tensor, size: Size) -> Tensor:
    import torch.nn.functional as F

    return F.interpolate(probability_HW[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def _resize_then_threshold(probability_HW: Tensor, size: Size, threshold: float) -> Tensor:
    return _bilinear(probability_HW, size) > threshold


PAPER = Protocol(
    name="paper",
    version=1,
    rule="sigmoid, threshold at the logit map's size, nearest resize to the original image size",
    scored_at="original",
    binarize=_threshold_then_resize,
    resize=_nearest,
)
ORIGINAL = Protocol(
    name="original",
    version=1,
    rule="sigmoid, bilinear resize of probabilities to the original image size, threshold",
    scored_at="original",
    binarize=_resize_then_threshold,
    resize=_bilinear,
)
INPUT = Protocol(
    name="input",
    version=1,
    rule="sigmoid, bilinear resize of probabilities to the model's input size, threshold; "
    "compared with the mask resized nearest",
    scored_at="input",
    binarize=_resize_then_threshold,
    resize=_bilinear,
)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (PAPER, ORIGINAL, INPUT)}
"""Name -> protocol. Read it when it is needed and keep no copy: plugins add to it."""


def protocol_schema(extra: Iterable[str] = ()) -> pa.Schema:
    """Return the columns of per-sample rows that protocols give: SAMPLE_SCHEMA, added protocols, extra rules."""
    added = [name for name in (*PROTOCOLS, *extra) if f"iou_{name}" not in SAMPLE_SCHEMA.names]
    kinds = (("intersection", pa.int64()), ("union", pa.int64()), ("iou", pa.float64()))
    return pa.schema([*SAMPLE_SCHEMA, *(pa.field(f"{kind}_{name}", of) for name in added for kind, of in kinds)])
