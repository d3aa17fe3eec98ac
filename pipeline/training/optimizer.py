"""AdamW and its learning-rate schedule, as section IV-A of the paper gives them."""

from __future__ import annotations

import math

import torch
from torch import nn

from pipeline.config import OptimConfig


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Return AdamW over all trainable parameters; fused: one kernel instead of hundreds, on CUDA and on the CPU.

    With `decay_norms_and_biases=False` vectors (norms, biases, class tokens) are left out of weight decay.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": parameters, "weight_decay": config.weight_decay}]
    if not config.decay_norms_and_biases:
        matrices = [p for p in parameters if p.squeeze().ndim >= 2]
        vectors = [p for p in parameters if p.squeeze().ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def learning_rate_at(step: int, total_steps: int, config: OptimConfig) -> float:
    """Return the learning rate of optimizer step 0 .. total_steps-1.

    It depends only on the step, so there is no scheduler state to save or lose. Cosine falls to zero per step.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    share = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give all parameter groups the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
