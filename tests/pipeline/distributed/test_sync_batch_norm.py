"""Batch statistics reduced over workers against one worker that has the whole batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.distributed.process_group import Worker
from pipeline.distributed.sync_batch_norm import synchronize
from tests.integration import workers

BATCH = torch.Generator().manual_seed(0)
INPUT_BCHW = 3.0 * torch.randn(6, 5, 4, 4, generator=BATCH) + 1.0
WEIGHT_BCHW = torch.randn(6, 5, 4, 4, generator=BATCH)


def one_step(worker: Worker, synchronized: bool = True) -> dict[str, Tensor]:
    """Return output, gradients and running statistics of this worker's share of the batch."""
    norm = nn.Sequential(nn.BatchNorm2d(5))
    with torch.no_grad():
        norm[0].weight.copy_(torch.linspace(0.5, 1.5, 5))
        norm[0].bias.copy_(torch.linspace(-1, 1, 5))
    if synchronized:
        norm = synchronize(norm, worker)  # type: ignore[assignment]
    share = slice(worker.rank, None, worker.world_size)
    input_BCHW = INPUT_BCHW[share].clone().requires_grad_()
    output_BCHW = norm(input_BCHW)
    (output_BCHW * WEIGHT_BCHW[share]).square().sum().backward()
    parameters = {f"gradient of {name}": value.grad.clone() for name, value in norm.named_parameters()}
    buffers = {name: value.clone() for name, value in norm.named_buffers()}
    return {"output": output_BCHW.detach(), "gradient": input_BCHW.grad, **parameters, **buffers}


@pytest.mark.parametrize("world_size", [2, 3])
def test_workers_together_equal_one_with_the_whole_batch(world_size: int, tmp_path: Path) -> None:
    whole, shares = one_step(Worker()), workers.call(world_size, one_step, tmp_path)
    for rank, share in enumerate(shares):
        for name in ("output", "gradient"):
            assert torch.allclose(share[name], whole[name][rank::world_size], atol=1e-5), name
        for name in ("0.running_mean", "0.running_var", "0.num_batches_tracked"):
            assert torch.allclose(share[name], whole[name], atol=1e-6), name
            assert torch.equal(share[name], shares[0][name]), f"{name} differs between ranks"
    for name in ("gradient of 0.weight", "gradient of 0.bias"):
        total = sum(share[name] for share in shares)
        assert torch.allclose(total, whole[name], rtol=1e-4), name


def test_without_synchronisation_the_statistics_would_differ(tmp_path: Path) -> None:
    whole, shares = one_step(Worker()), workers.call(2, one_step, tmp_path, False)
    for rank, share in enumerate(shares):
        assert not torch.allclose(share["output"], whole["output"][rank::2], atol=1e-2)
        assert not torch.allclose(share["0.running_mean"], whole["0.running_mean"], atol=1e-3)
