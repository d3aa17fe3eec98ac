"""CRIS, and CGFormer, whose engine follows it: IoU with 1e-6 added to the union, means by torch.

torch is imported where a mean is taken, so that tables know the evaluators without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.public_evaluators.counts import MaskCounts
from pipeline.evaluation.public_evaluators.evaluator import Fault, PublicEvaluator, Source
from pipeline.evaluation.public_evaluators.mask_rules import CGFORMER_MASKS

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Add up as one thread does: torch splits long sums among its threads, which changes the last bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _iou(counts: MaskCounts) -> Tensor:
    import torch

    return torch.from_numpy(counts.intersection / (counts.union + 1e-6))


def _means(iou: Tensor) -> dict[str, float]:
    """Return mean IoU and Pr@50 to 90. The levels are float32, so 0.6 is 0.6000000238 and 0.7 is 0.6999999881."""
    import torch

    with one_thread():
        shares = [(iou > level).float().mean().item() for level in torch.arange(0.5, 1.0, 0.1)]
        precision = {f"Pr@{10 * (5 + i)}": 100.0 * share for i, share in enumerate(shares)}
        return {"IoU": 100.0 * iou.mean().item(), **precision}


def _cris(counts: MaskCounts) -> dict[str, float]:
    return _means(_iou(counts))


def _cgformer(counts: MaskCounts) -> dict[str, float]:
    means = _means(_iou(counts))
    total = 100.0 * (np.float64(counts.intersection.sum()) / counts.union.sum())
    return {"oIoU": total, "mIoU": means.pop("IoU"), **means}


_LEVELS = Fault(
    what="the levels are float32: 0.6 is compared as 0.6000000238, 0.7 as 0.6999999881, 0.8 as 0.8000000119, "
    "0.9 as 0.8999999762",
    scores=("Pr@60", "Pr@70", "Pr@80", "Pr@90"),
)
_EMPTY = "IoU 0 (0 / 1e-6), counted"
_MEANS = "over expressions; IoU in float64 with 1e-6 added to the union, P@X in float32"

CRIS = PublicEvaluator(
    name="cris",
    system="CRIS",
    source=Source(
        repository="DerrickWang005/CRIS.pytorch",
        commit="e596332f8f5929a907ad66d2889e434d18f5eee7",
        file="engine/engine.py",
        function="inference",
    ),
    masks="sigmoid, bicubic resize with aligned corners to the padded input, cubic warp back to the original size, "
    "threshold 0.35",
    both_empty=_EMPTY,
    precision_at="IoU > X",
    means=_MEANS,
    scored_at="original",
    no_target="counted",
    formula=_cris,
    faults=(_LEVELS,),
)
CGFORMER = PublicEvaluator(
    name="cgformer",
    system="CGFormer",
    source=Source(
        repository="SooLab/CGFormer",
        commit="67d3390f6710f46002a560a188922892950f19b8",
        file="engine/engine.py",
        function="inference",
    ),
    masks="sigmoid, bicubic resize with aligned corners to the original size, threshold 0.5",
    both_empty=_EMPTY,
    precision_at="IoU > X",
    means=_MEANS,
    scored_at="original",
    no_target="counted",
    formula=_cgformer,
    mask_rule=CGFORMER_MASKS,
    faults=(_LEVELS,),
)
