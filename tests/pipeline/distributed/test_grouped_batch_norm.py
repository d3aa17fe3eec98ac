"""Batch statistics over groups: each group as torch's own norm has it, whatever else is in the forward."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import TrainConfig
from pipeline.distributed.batch_statistics import in_words, with_batch_statistics
from pipeline.distributed.grouped_batch_norm import GroupedBatchNorm2d, move_running_statistics
from pipeline.distributed.process_group import Worker
from tests.integration import workers

TRAIN = TrainConfig(global_batch_size=12, batch_norm_samples=3)
INPUT_BCHW = 3.0 * torch.randn(12, 5, 4, 4, generator=torch.Generator().manual_seed(0)) + 1.0


def norm_of(samples: int | None, worker: Worker) -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    with torch.no_grad():
        norm.weight.uniform_()
        norm.bias.uniform_()
    return nn.Sequential(norm) if samples is None else with_batch_statistics(nn.Sequential(norm), TRAIN, worker)


def step_of(worker: Worker, forward: int) -> dict[str, Tensor]:
    """Output and state after a step of this worker's part in forwards of so many samples."""
    norm = norm_of(3, worker).train()
    share = len(INPUT_BCHW) // worker.world_size
    own_BCHW = INPUT_BCHW[worker.rank * share : (worker.rank + 1) * share]
    outputs = [norm(part_BCHW) for part_BCHW in own_BCHW.split(forward)]
    move_running_statistics(norm, worker)
    return {
        "output": torch.cat(outputs).detach(),
        **{name: value.clone() for name, value in norm[0].state_dict().items()},
    }


def test_a_group_is_normalized_as_by_torch() -> None:
    norm, own = norm_of(3, Worker()), norm_of(None, Worker())
    input_BCHW = INPUT_BCHW.clone().requires_grad_()
    output_BCHW = norm(input_BCHW)
    output_BCHW.square().sum().backward()
    for part in torch.arange(12).split(3):
        group_GCHW = INPUT_BCHW[part].clone().requires_grad_()
        expected_GCHW = own(group_GCHW)
        expected_GCHW.square().sum().backward()
        assert torch.equal(output_BCHW[part], expected_GCHW)
        assert torch.equal(input_BCHW.grad[part], group_GCHW.grad)


@pytest.mark.parametrize("forward", [3, 6])
@pytest.mark.parametrize("world_size", [1, 2])
def test_workers_and_forwards_change_nothing(world_size: int, forward: int, tmp_path: Path) -> None:
    whole = step_of(Worker(), 12)
    shares = workers.call(world_size, step_of, tmp_path, forward)
    assert torch.equal(torch.cat([share["output"] for share in shares]), whole["output"])
    for share in shares:
        assert share.keys() == whole.keys()
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.allclose(share[name], whole[name], rtol=1e-6), name
            assert torch.equal(share[name], shares[0][name]), f"{name} differs between ranks"


def test_running_statistics_move_once_a_step_by_the_mean_over_the_groups() -> None:
    moved = step_of(Worker(), 12)
    groups = INPUT_BCHW.view(4, 3, 5, 4, 4)
    means_KC, variances_KC = groups.mean((1, 3, 4)), groups.transpose(1, 2).flatten(2).var(2)
    assert torch.allclose(moved["running_mean"], 0.1 * means_KC.mean(0), rtol=1e-5)
    assert torch.allclose(moved["running_var"], 0.9 + 0.1 * variances_KC.mean(0), rtol=1e-5)
    assert moved["num_batches_tracked"] == 1


def test_evaluation_and_state_are_those_of_batch_norm() -> None:
    norm, own = norm_of(3, Worker()), norm_of(None, Worker())
    assert isinstance(norm[0], GroupedBatchNorm2d)  # type: ignore[index]
    assert norm.state_dict().keys() == own.state_dict().keys()
    assert torch.equal(norm.eval()(INPUT_BCHW), own.eval()(INPUT_BCHW))


def test_the_record_says_how_statistics_were_taken() -> None:
    whole, apart = TrainConfig(), TrainConfig(synchronize_batch_norm=False)
    assert in_words(whole, world_size=8, micro_batch_size=14) == "over 112 samples of 8 workers, synchronised"
    assert in_words(whole, world_size=1, micro_batch_size=4) == "over 4 samples of 1 worker"
    expected = "over 7 samples of each of 2 workers, not synchronised"
    assert in_words(apart, world_size=2, micro_batch_size=7) == expected
    assert in_words(TRAIN, world_size=4, micro_batch_size=3) == "over groups of 3 samples, whatever the workers"


@pytest.mark.parametrize("samples", [5, 0, -3])
def test_a_group_that_does_not_divide_the_batch_is_refused(samples: int) -> None:
    with pytest.raises(ValueError, match=r"train\.batch_norm_samples"):
        TrainConfig(global_batch_size=12, batch_norm_samples=samples)
