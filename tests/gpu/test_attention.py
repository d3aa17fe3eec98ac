"""Which kernel attention over padded text runs, and that the flash kernel is the function of the mask."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from sharedris.cuda_kernels import has_flash
from sharedris.kernels import use_kernels
from sharedris.layers import FusedAttention

LENGTHS = [921, 905, 903, 921]
"""Visible tokens of four samples: 901 of the image, and words."""


def operands(device: torch.device, dtype: torch.dtype, queries: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Queries, keys and values of four samples and two heads, as projections lay them out, and the mask."""
    generator = torch.Generator().manual_seed(0)
    keys, lengths = (921, LENGTHS) if queries == 921 else (20, [20, 4, 2, 20])
    shapes = [(4, queries, 2, 64), (4, keys, 2, 64), (4, keys, 2, 64)]
    tensors = [torch.randn(shape, generator=generator).to(device, dtype).transpose(1, 2) for shape in shapes]
    visible = (torch.arange(keys) < torch.tensor(lengths)[:, None])[:, None, None, :].to(device)
    return [tensor.requires_grad_() for tensor in tensors], visible


def attention_of(device: torch.device) -> FusedAttention:
    """The attention that a model on the device runs."""
    model = torch.nn.Sequential(torch.nn.Linear(1, 1, device=device), FusedAttention())
    use_kernels(model)
    module = model[1]
    assert isinstance(module, FusedAttention)
    return module


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("queries", [921, 901], ids=["joined tokens", "pixels read words"])
def test_values_and_gradients_are_those_of_the_mask(device: torch.device, dtype: torch.dtype, queries: int) -> None:
    tensors, visible = operands(device, dtype, queries)
    exact = [tensor.detach().float().requires_grad_() for tensor in tensors]
    upstream = torch.randn(4, 2, queries, 64, generator=torch.Generator().manual_seed(1)).to(device)
    results = []
    for attention, inputs in ((attention_of(device), tensors), (FusedAttention(), exact)):
        attended = attention(*inputs, visible)
        gradients = torch.autograd.grad(attended, inputs, upstream.to(attended.dtype))
        results.append([attended, *gradients])
    rounding = torch.finfo(dtype).eps
    for ours, masked in zip(*results, strict=True):
        assert ours.isfinite().all(), "a hidden key has a gradient that was never written"
        difference, largest = (ours.detach().float() - masked.detach()).abs().max(), masked.detach().abs().max()
        assert float(difference) <= 8 * rounding * float(largest)


@pytest.mark.parametrize(
    ("dtype", "flash"), [(torch.bfloat16, True), (torch.float16, True), (torch.float32, False)], ids=str
)
def test_which_kernel_runs(device: torch.device, dtype: torch.dtype, flash: bool) -> None:
    tensors, visible = operands(device, dtype, 921)
    attention = attention_of(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiled:
        attention(*tensors, visible).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
    names = sorted({event.name for event in profiled.events() or []})
    if device.type == "cpu":
        assert any("attention" in name or "bmm" in name for name in names)
        return
    kernels = [name for name in names if "flash" in name or "fmha" in name or "attention" in name]
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name(device)}, {dtype}: {kernels}")
    assert any("flash_fwd" in name for name in names) is (flash and has_flash(device))
    assert any("flash_bwd" in name for name in names) is (flash and has_flash(device))
