"""One optimizer step: accumulation, precision, and losses that are not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.config import OptimConfig, TrainConfig
from pipeline.data.dataset.combined import training_dataset
from pipeline.data.dataset.loader import Batch, collate
from pipeline.distributed.batch_statistics import with_batch_statistics
from pipeline.distributed.process_group import Worker
from pipeline.training.model_with_loss import ModelWithLoss
from pipeline.training.optimizer import build_optimizer
from pipeline.training.readings import NonFiniteLossError, StepReading, UnreadSteps
from pipeline.training.step import StepResult, train_step
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model

WHOLE = 6


@pytest.fixture(scope="module")
def samples(toy_root: Path) -> list[Any]:
    """Six samples of the toy set at the micro model's size."""
    dataset = training_dataset(toy_root, ("toyplus_unc",), image_size=32, text_tokens=20)
    return [dataset[index] for index in range(WHOLE)]


@pytest.fixture
def model(micro_model: ComparedModelConfig) -> nn.Module:
    """The micro model without randomness."""
    torch.manual_seed(0)
    return build_model(replace(micro_model, encoder=replace(micro_model.encoder, drop_path=0.0))).train()


def step(model: nn.Module, batches: list[Batch], **train: Any) -> StepReading:
    """Take a step of a recipe that differs from the paper's as given."""
    config, optim = TrainConfig(**{"precision": "fp32", **train}), OptimConfig(learning_rate=1e-2)
    scaler = torch.amp.GradScaler("cpu", enabled=config.precision == "fp16")
    optimizer = build_optimizer(model, optim)
    trained = ModelWithLoss(model, config)
    result = train_step(trained, optimizer, scaler, batches, optim=optim, worker=Worker(), step=7)
    return read(result, config)


def read(result: StepResult, train: TrainConfig) -> StepReading:
    """Read a step as the trainer does."""
    return UnreadSteps(train, Worker()).add(result)[0]


def freeze_batch_norm(model: nn.Module) -> None:
    """Let batch norms use their running statistics: the one part that sees a forward and not a step."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def copy_of(model: nn.Module, config: ComparedModelConfig) -> nn.Module:
    """Return a second model with the same weights."""
    twin = build_model(replace(config, encoder=replace(config.encoder, drop_path=0.0))).train()
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_accumulated_gradients_equal_the_whole_batch(
    model: nn.Module, micro_model: ComparedModelConfig, samples: list[Any], micro_batch: int
) -> None:
    parts = copy_of(model, micro_model)
    freeze_batch_norm(model)
    freeze_batch_norm(parts)
    whole = step(model, [collate(samples)])
    batches = [collate(samples[start : start + micro_batch]) for start in range(0, WHOLE, micro_batch)]
    accumulated = step(parts, batches)
    assert accumulated.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-5)
    assert torch.allclose(accumulated.terms, whole.terms, rtol=1e-5)
    # AdamW's first step divides each gradient by its own size: a rounding error of a tiny one is a whole step.
    close = [
        torch.isclose(one, other, atol=1e-4).float().mean()
        for one, other in zip(model.parameters(), parts.parameters(), strict=True)
    ]
    assert min(close) > 0.9
    assert sum(close) / len(close) > 0.995


@pytest.mark.parametrize("micro_batch", [2, 4])
def test_with_grouped_statistics_micro_batches_are_the_step(
    model: nn.Module, micro_model: ComparedModelConfig, samples: list[Any], micro_batch: int
) -> None:
    train = TrainConfig(global_batch_size=WHOLE, batch_norm_samples=2)
    parts = with_batch_statistics(copy_of(model, micro_model), train, Worker())
    model = with_batch_statistics(model, train, Worker())
    whole = step(model, [collate(samples[:4])])
    batches = [collate(samples[start : start + micro_batch]) for start in range(0, 4, micro_batch)]
    accumulated = step(parts, batches)
    assert accumulated.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-5)
    assert torch.allclose(accumulated.terms, whole.terms, rtol=1e-5)
    moved = dict(parts.named_buffers())
    for name, buffer in model.named_buffers():
        assert torch.allclose(buffer, moved[name], rtol=1e-5), name
        assert not name.endswith("running_var") or not torch.equal(buffer, torch.ones_like(buffer)), name


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_near_fp32(
    model: nn.Module, micro_model: ComparedModelConfig, samples: list[Any], precision: str
) -> None:
    twin = copy_of(model, micro_model)
    exact, low = step(model, [collate(samples)]), step(twin, [collate(samples)], precision=precision)
    assert torch.allclose(exact.terms, low.terms, rtol=0.02)
    assert not torch.equal(exact.terms, low.terms), "autocast was not in effect"
    assert low.gradient_norm == pytest.approx(exact.gradient_norm, rel=0.1)
    assert not low.skipped
    assert {parameter.dtype for parameter in twin.parameters()} == {torch.float32}


def spoilt(samples: list[Any]) -> Batch:
    """Return the batch with one image of NaN."""
    batch = collate(samples)
    batch.image_BCHW[2] = float("nan")
    return batch


def test_a_loss_that_is_not_finite_names_step_and_samples(model: nn.Module, samples: list[Any]) -> None:
    with pytest.raises(NonFiniteLossError, match=r"loss is not finite at step 7; .*toyplus_unc/train#2"):
        step(model, [spoilt(samples)])


def test_under_loss_scaling_a_nan_loss_stops_too(model: nn.Module, samples: list[Any]) -> None:
    with pytest.raises(NonFiniteLossError, match="step 7"):
        step(model, [spoilt(samples)], precision="fp16")


def test_under_loss_scaling_an_overflow_is_skipped_until_nothing_is_scaled(
    model: nn.Module, samples: list[Any]
) -> None:
    train, optim = TrainConfig(precision="fp16"), OptimConfig(learning_rate=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer = build_optimizer(model, optim)
    next(model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    scales = []

    def step_once() -> StepReading:
        scales.append(scaler.get_scale())
        result = train_step(
            ModelWithLoss(model, train), optimizer, scaler, [collate(samples)], optim=optim, worker=Worker(), step=7
        )
        return read(result, train)

    assert step_once().skipped
    assert step_once().skipped
    with pytest.raises(NonFiniteLossError, match=r"gradient \(the loss was finite\) is not finite at step 7"):
        step_once()
    assert scales == [4.0, 2.0, 1.0]


def test_a_skipped_step_leaves_nothing_behind(model: nn.Module, samples: list[Any]) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = step(model, [spoilt(samples)], nonfinite_loss="skip")
    assert result.skipped
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items()), "weights or statistics changed"
    assert not step(model, [collate(samples)], nonfinite_loss="skip").skipped
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_gradients_are_clipped_to_the_norm(model: nn.Module, samples: list[Any]) -> None:
    seen: list[float] = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, fused=True)
    optimizer.register_step_pre_hook(lambda *_: seen.append(total_norm(model)))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    optim = OptimConfig(clip_norm=1e-3)
    train_step(
        ModelWithLoss(model, TrainConfig(precision="fp32")),
        optimizer,
        scaler,
        [collate(samples)],
        optim=optim,
        worker=Worker(),
        step=0,
    )
    assert seen == [pytest.approx(1e-3, rel=1e-2)]


def total_norm(model: nn.Module) -> float:
    """Norm of all gradients together."""
    return float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())
