"""One forward and backward of a model on a device, from the same weights and inputs everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config import TrainConfig
from pipeline.training.model_with_loss import ModelWithLoss
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import Precision
from sharedris.kernels import use_kernels

LOSS_SCALE = 1024.0
"""Keeps the gradients of fp16 above its smallest number, as GradScaler does in training."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a forward and backward gave, in float32 on the CPU."""

    logits_BHW: Tensor
    loss: float
    gradients: dict[str, Tensor]


def inputs_of(config: ComparedModelConfig, samples: int, device: torch.device) -> list[Tensor]:
    """Return images, ids, padding (two words fewer in each next sample), masks and keys of random numbers."""
    generator = torch.Generator().manual_seed(0)
    side, tokens = config.encoder.image_size, config.encoder.text_tokens
    lengths_B1 = (tokens - 2 * torch.arange(samples)).clamp(min=3)[:, None]
    tensors = [
        torch.randn(samples, 3, side, side, generator=generator),
        torch.randint(3, 100, (samples, tokens), generator=generator),
        torch.arange(tokens) >= lengths_B1,
        torch.randint(0, 2, (samples, side, side), generator=generator, dtype=torch.uint8),
        torch.arange(samples),
    ]
    return [tensor.to(device) for tensor in tensors]


def trained_model(config: ComparedModelConfig, precision: Precision, device: torch.device) -> ModelWithLoss:
    """Return a model with its loss on a device, drawing by sample, so that every device draws the same numbers."""
    torch.manual_seed(0)
    model = build_model(config).train().to(device)
    use_kernels(model)
    return ModelWithLoss(model, TrainConfig(precision=precision, draws="sample"))


def outcome(config: ComparedModelConfig, precision: Precision, device: torch.device, *, samples: int = 2) -> Outcome:
    """Return what a padded batch gives."""
    trained = trained_model(config, precision, device)
    seen: list[Tensor] = []
    handle = trained.model.register_forward_hook(lambda module, args, out: seen.append(out))
    terms = trained(*inputs_of(config, samples, device))
    handle.remove()
    (terms.total * LOSS_SCALE).backward()
    gradients = {
        name: parameter.grad.float().cpu() / LOSS_SCALE
        for name, parameter in trained.model.named_parameters()
        if parameter.grad is not None
    }
    return Outcome(logits_BHW=seen[0].detach().float().cpu(), loss=float(terms.total.detach()), gradients=gradients)


def difference(one: Tensor, other: Tensor) -> float:
    """Return |one - other| / |other| in the Euclidean norm."""
    return float((one - other).norm() / other.norm().clamp(min=1e-12))


def gradient_difference(one: Outcome, other: Outcome) -> float:
    """Return the same of all gradients as one vector."""
    assert one.gradients.keys() == other.gradients.keys()
    names = sorted(one.gradients)
    return difference(*(torch.cat([each.gradients[name].flatten() for name in names]) for each in (one, other)))
