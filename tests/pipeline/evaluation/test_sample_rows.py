"""The row of a sample worked out by hand, and a whole split: every sample once, in order, in evaluation mode."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config import EvaluationConfig
from pipeline.data.dataset.refer_dataset import ReferDataset, SampleInfo
from pipeline.data.masks import decode_mask, encode_mask
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.evaluate import evaluate_split, score_sample


def sample_of(target_HW: np.ndarray) -> SampleInfo:
    return SampleInfo(
        index=3,
        split="toyplus_unc/val",
        image_id=7,
        file_name="a.jpg",
        ref_id=8,
        sent_id=9,
        expression="the dog",
        height=target_HW.shape[0],
        width=target_HW.shape[1],
        area_ratio=0.5,
        mask_rle=encode_mask(target_HW),
    )


def test_a_row_by_hand() -> None:
    """A map of two columns, 0 and 1: bilinear at width 6 it is 0, 0, 1/3, 2/3, 1, 1, and at width 4 0, 1/4, 3/4, 1."""
    original, at_input = np.zeros((2, 6), dtype=np.uint8), np.zeros((4, 4), dtype=np.uint8)
    original[:, 2:5] = 1
    at_input[:, 1:3] = 1
    evaluation = EvaluationConfig(threshold=0.3)
    row = score_sample(torch.tensor([[0.0, 1.0]]), torch.from_numpy(at_input), sample_of(original), evaluation)
    assert (row["target_area_original"], row["target_area_input"]) == (6, 8)
    assert (row["intersection_paper"], row["union_paper"], row["iou_paper"]) == (4, 8, 0.5)
    assert (row["intersection_original"], row["union_original"], row["iou_original"]) == (6, 8, 0.75)
    assert (row["intersection_input"], row["union_input"], row["iou_input"]) == (4, 12, 1 / 3)
    assert decode_mask(row["mask_rle"], height=2, width=6).tolist() == [[0, 0, 1, 1, 1, 1]] * 2


def test_two_empty_masks_agree_in_full() -> None:
    nothing = np.zeros((2, 6), dtype=np.uint8)
    target = torch.zeros(4, 4, dtype=torch.uint8)
    row = score_sample(torch.zeros(1, 2), target, sample_of(nothing), EvaluationConfig())
    for protocol in ("paper", "original", "input"):
        assert (row[f"intersection_{protocol}"], row[f"union_{protocol}"], row[f"iou_{protocol}"]) == (0, 0, 1.0)


class Brightness(nn.Module):
    """Logits are the brightness of a pixel; drops everything in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(1.0)

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor) -> Tensor:
        return self.dropout(image_BCHW.mean(dim=1))


class OneOfTwo(Worker):
    """A worker whose partner has already made its rows."""

    partner: list[dict[str, Any]] | None = None
    own: list[dict[str, Any]]

    @contextlib.contextmanager
    def patient_group(self) -> Iterator[None]:
        yield None

    def gather(self, value: Any, group: Any = None) -> list[Any]:
        object.__setattr__(self, "own", value)
        return [value] if self.partner is None else [value, self.partner]


@pytest.fixture
def dataset(toy_root: Path) -> ReferDataset:
    return ReferDataset(str(toy_root), "toyplus_unc/val", image_size=32, text_tokens=20)


def test_a_split_is_scored_in_order_and_in_evaluation_mode(dataset: ReferDataset) -> None:
    evaluation = EvaluationConfig(batch_size=2, threshold=0.6)
    progress: list[tuple[int, int]] = []
    model = Brightness().train()
    rows = evaluate_split(
        model,
        dataset,
        evaluation=evaluation,
        precision="fp32",
        worker=Worker(),
        on_progress=lambda done, total: progress.append((done, total)),
    )
    count = len(dataset)
    assert rows["index"].tolist() == list(range(count))
    assert progress == [(done, count) for done in range(1, count + 1)]
    for index in range(count):
        sample = dataset[index]
        logits_HW = (sample.image_CSS.float() / 127.5 - 1).mean(dim=0)
        expected = score_sample(logits_HW.sigmoid(), torch.from_numpy(sample.mask_SS), sample.info, evaluation)
        assert {name: rows[name][index] for name in expected} == expected


def test_the_rows_of_two_workers_are_one_table_in_order(dataset: ReferDataset) -> None:
    def table(worker: Worker, progress: list[int]) -> Any:
        return evaluate_split(
            Brightness(),
            dataset,
            evaluation=EvaluationConfig(batch_size=2),
            precision="fp32",
            worker=worker,
            on_progress=lambda done, total: progress.append(total),
        )

    first, second = OneOfTwo(rank=0, world_size=2), OneOfTwo(rank=1, world_size=2)
    totals: list[int] = []
    table(second, totals)
    assert set(totals) == {len(dataset) // 2}
    object.__setattr__(first, "partner", second.own)
    assert len(dataset) % 2 == 1
    together, alone = table(first, []), table(Worker(), [])
    assert together.equals(alone)
