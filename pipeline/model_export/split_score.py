"""The score of an exported model on a split, by the evaluation that scores runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.config import EvaluationConfig
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.distributed.process_group import Worker
from pipeline.evaluation.evaluate import evaluate_split
from pipeline.evaluation.metrics import score
from pipeline.evaluation.protocols import ORIGINAL


class FromNormalized(nn.Module):
    """A graph of pixels behind the evaluation, whose images are normalized already.

    Args:
        graph: (pixels, token ids, padding) -> (logits, ...).
    """

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor) -> Tensor:
        """Return logits, (B, H, W)."""
        pixels_BCHW = ((image_BCHW + 1) * 127.5).round().to(torch.uint8)  # exact: these were whole numbers
        logits_BHW: Tensor = self.graph(pixels_BCHW, token_ids_BT, padding_BT)[0]
        return logits_BHW


def split_scores(graph: nn.Module, dataset: ReferDataset, threshold: float) -> tuple[float, float]:
    """Return oIoU and mIoU, 0 .. 1, of a whole split under the protocol `original`."""
    rows = evaluate_split(
        FromNormalized(graph),
        dataset,
        evaluation=EvaluationConfig(threshold=threshold, batch_size=1),
        precision="fp32",
        worker=Worker(device=torch.device("cpu")),
    )
    values = score(rows, ORIGINAL, input_size=dataset.image_size).values
    oiou, miou = values["oiou"], values["miou"]
    assert oiou is not None
    assert miou is not None
    return oiou, miou
