"""Exact evaluation: every sample once, integer counts, all protocols from one forward pass.

Worker `rank` of `world_size` takes the samples `range(rank, N, world_size)`. The loop has no collective, since the
numbers of samples differ by one. The rows are gathered afterwards and sorted by index, so the result has the same bits
for any number of workers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pipeline.config import EvaluationConfig
from pipeline.data.dataset.loader import Batch, evaluation_loader
from pipeline.data.dataset.prefetch import prefetch
from pipeline.data.dataset.refer_dataset import SampleInfo
from pipeline.data.dataset.train_loader import loader_processes
from pipeline.data.masks import decode_mask, encode_mask
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.sample_columns import mask_numbers
from pipeline.evaluation.threshold_counts import COUNTS, counts_over
from pipeline.precision import autocast, weights_cast_once
from sharedris.config import Precision
from sharedris.errors import InputError

_SCORING_BACKLOG = 64
"""Masks that wait for the scoring thread; bounds memory when scoring is slower than the model."""


def evaluate_split(
    model: nn.Module,
    dataset: Any,
    *,
    evaluation: EvaluationConfig,
    precision: Precision,
    worker: Worker,
    loader_workers: int | None = 0,
    extra: Sequence[Protocol] = (),
    thresholds: Sequence[float] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Return the per-sample rows (columns of `sample_schema`) of a whole split, on every worker alike.

    Args:
        model: unwrapped (no DDP); put into evaluation mode here and left in it.
        dataset: a ReferDataset.
        loader_workers: processes that load; None takes the default of the device.
        extra: rules that are scored in addition to PROTOCOLS, from the same forward pass.
        thresholds: at which PROTOCOLS are counted as well; the rows then have the column COUNTS of
            `pipeline.evaluation.threshold_counts`.
        on_progress: called with (samples done by this worker, samples of this worker).
    """
    model.eval()
    loader = evaluation_loader(
        dataset,
        batch_size=evaluation.batch_size,
        rank=worker.rank,
        world_size=worker.world_size,
        workers=loader_processes(loader_workers, worker.device),
        for_gpu=worker.device.type == "cuda",
    )
    own = len(range(worker.rank, len(dataset), worker.world_size))
    rows: list[dict[str, Any]] = []
    score = functools.partial(score_sample, evaluation=evaluation, extra=extra, thresholds=thresholds)
    with worker.patient_group() as group:
        for row in _rows(model, loader, score, precision=precision, worker=worker):
            rows.append(row)
            on_progress(len(rows), own)
        gathered = [row for share in worker.gather(rows, group) for row in share]
    return pd.DataFrame(gathered).sort_values("index", ignore_index=True)


@torch.no_grad()  # not inference mode, in which autocast would cast every weight for every batch
def _rows(
    model: nn.Module,
    batches: Iterable[Batch],
    score: Callable[[Tensor, Tensor, SampleInfo], dict[str, Any]],
    *,
    precision: Precision,
    worker: Worker,
) -> Iterator[dict[str, Any]]:
    """Yield a row per sample; masks are compared and encoded on another thread while the model goes on."""
    waiting: list[Future[dict[str, Any]]] = []
    # A CPU answers in float32, in every precision.
    casts = precision if worker.device.type == "cuda" else "fp32"
    with ThreadPoolExecutor(max_workers=1) as scorer, weights_cast_once(worker.device):
        for host_batch, batch in prefetch(batches, worker.device):
            with autocast(casts, worker.device):
                logits_BHW = model(batch.image_BCHW, batch.token_ids_BT, batch.padding_BT)
            # Scored on the CPU: the map is small, the masks are not, and every device then rounds alike.
            probability_BHW = torch.sigmoid(logits_BHW.float()).cpu()
            _require_numbers(probability_BHW, host_batch)
            for probability_HW, target_HW, sample in zip(
                probability_BHW, host_batch.mask_BHW, host_batch.samples, strict=True
            ):
                waiting.append(scorer.submit(score, probability_HW, target_HW, sample))
            while waiting and (waiting[0].done() or len(waiting) > _SCORING_BACKLOG):
                yield waiting.pop(0).result()
        for pending in waiting:
            yield pending.result()


def _require_numbers(probability_BHW: Tensor, batch: Batch) -> None:
    """Refuse NaN, which would be scored as background: no score may come from a model that does not answer."""
    for probability_HW, sample in zip(probability_BHW, batch.samples, strict=True):
        if probability_HW.isnan().any():
            raise InputError(
                f"the model answers NaN for {sample.split}#{sample.index} ({sample.file_name})",
                "Evaluate in fp32, or train the model again",
            )


@torch.inference_mode()
def score_sample(
    probability_HW: Tensor,
    target_input_HW: Tensor,
    sample: SampleInfo,
    evaluation: EvaluationConfig,
    extra: Sequence[Protocol] = (),
    thresholds: Sequence[float] = (),
) -> dict[str, Any]:
    """Return the row of one sample: integer intersection and union under every protocol, and the predicted mask.

    Args:
        probability_HW: probabilities at the logit map's size, float32, on the CPU.
        target_input_HW: mask at the model's input size, uint8 0/1.
        sample: carries the mask at the image's original size as RLE.
        evaluation: whose threshold the row is scored at.
        extra: rules that are scored in addition to PROTOCOLS.
        thresholds: at which the counts of the column COUNTS are made; without any there is no such column.
    """
    target_original = decode_mask(sample.mask_rle, height=sample.height, width=sample.width).astype(bool)
    target_input = target_input_HW.numpy().astype(bool)
    row: dict[str, Any] = {
        "index": sample.index,
        "image_id": sample.image_id,
        "file_name": sample.file_name,
        "ref_id": sample.ref_id,
        "sent_id": sample.sent_id,
        "expression": sample.expression,
        "height": sample.height,
        "width": sample.width,
        "area_ratio": sample.area_ratio,
        "target_area_original": int(target_original.sum()),
        "target_area_input": int(target_input.sum()),
    }
    for protocol in (*PROTOCOLS.values(), *extra):
        target = target_original if protocol.scored_at == "original" else target_input
        size = (target.shape[0], target.shape[1])
        mask = protocol.binarize(probability_HW, size, evaluation.threshold).numpy()
        intersection, union = count_pixels(mask, target)
        row[f"intersection_{protocol.name}"] = intersection
        row[f"union_{protocol.name}"] = union
        row[f"iou_{protocol.name}"] = intersection / union if union else 1.0
        row |= mask_numbers(protocol, mask, target) if protocol.name in PROTOCOLS else {}
        if protocol.name == "original":
            row["mask_rle"] = encode_mask(mask)
    if thresholds:
        row[COUNTS] = counts_over(probability_HW, {"original": target_original, "input": target_input}, thresholds)
    return row


def count_pixels(mask: np.ndarray, target: np.ndarray) -> tuple[int, int]:
    """Return (intersection, union) in pixels of two bool masks of one size."""
    intersection = int(np.count_nonzero(mask & target))
    return intersection, int(np.count_nonzero(mask)) + int(np.count_nonzero(target)) - intersection
