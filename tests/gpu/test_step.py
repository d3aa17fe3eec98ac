"""A training step on a GPU: no wait, the planned memory, one graph, and DDP over NCCL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from pipeline.config import GradientExchange, OptimConfig
from pipeline.cost.step_timing import StepShape, make_step
from pipeline.cost.step_trace import DeviceKind, trace_step
from pipeline.data.dataset.loader import Batch
from pipeline.distributed.ddp import distribute
from pipeline.distributed.process_group import Worker
from pipeline.precision import numerics
from pipeline.training.optimizer import build_optimizer
from pipeline.training.step import StepResult, train_step
from sharedris.baselines.config import ComparedModelConfig
from sharedris.config import Precision
from sharedris.scales import base, tiny
from tests.cpu_memory import peak_bytes, skip_if_emulated
from tests.gpu.steps import inputs_of, trained_model


def step_on(
    trained: torch.nn.Module,
    config: ComparedModelConfig,
    device: torch.device,
    precision: Precision,
    forwards: int,
    *,
    may_wait: bool = False,
) -> StepResult:
    """Take one step of so many forwards; raises where the host waits for the GPU, unless it may."""
    images, ids, padding, masks, _ = inputs_of(config, 2, device)
    batch = Batch(image_BCHW=images, token_ids_BT=ids, padding_BT=padding, mask_BHW=masks, samples=())
    optimizer = build_optimizer(trained, OptimConfig())
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    with contextlib.nullcontext() if may_wait else _no_wait(device):
        return train_step(
            trained, optimizer, scaler, [batch] * forwards, optim=OptimConfig(), worker=Worker(device=device), step=0
        )


@contextmanager
def _no_wait(device: torch.device) -> Iterator[None]:
    if device.type == "cpu":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_never_waits_for_the_device(
    device: torch.device, two_layers: ComparedModelConfig, precision: Precision
) -> None:
    step_on(trained_model(two_layers, precision, device), two_layers, device, precision, 1)  # loads libraries
    result = step_on(trained_model(two_layers, precision, device), two_layers, device, precision, 2)
    assert result.values.device == device
    assert result.values.isfinite().all()


@pytest.mark.parametrize(("precision", "checkpointing"), [("bf16", False), ("bf16", True), ("fp32", False)], ids=str)
def test_the_peak_memory_is_as_planned(device: torch.device, precision: Precision, checkpointing: bool) -> None:
    """Within 10 % of `train --plan --memory`; on the CPU of the tiny model, by torch's profiler."""
    if device.type == "cpu":
        skip_if_emulated(precision)
    model, batch = (base(), 14) if device.type == "cuda" else (tiny(), 8)
    shape = StepShape(model=model, micro_batch_size=batch, precision=precision, checkpointing=checkpointing)
    step = make_step(shape, device)
    kind: DeviceKind = "cuda" if device.type == "cuda" else "cpu"
    trace = trace_step(model, micro_batch_size=batch, precision=precision, checkpointing=checkpointing, device=kind)
    step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        measured, planned = torch.cuda.max_memory_allocated(), trace.peak
        print(f"{precision}, checkpointing {checkpointing}: {measured / 2**30:.2f} GiB, planned {planned / 2**30:.2f}")
    else:
        measured = peak_bytes(step)
        planned = trace.activations + trace.gradients
    assert measured == pytest.approx(planned, rel=0.1)


def test_a_compiled_step_is_the_eager_step(device: torch.device, two_layers: ComparedModelConfig) -> None:
    inputs = inputs_of(two_layers, 2, device)
    trained = trained_model(two_layers, "bf16", device)
    eager = trained(*inputs).total
    torch._dynamo.reset()
    trained.compile(fullgraph=True, backend="inductor" if device.type == "cuda" else "aot_eager")
    compiled = trained(*inputs).total
    compiled.backward()
    assert float(compiled.detach()) == pytest.approx(float(eager.detach()), rel=0.01)
    torch._dynamo.reset()


# Of the 1 x 1 convolution's gradient, whose layout differs in name only.
@pytest.mark.filterwarnings("ignore:Grad strides do not match bucket view strides")
@pytest.mark.parametrize(("precision", "exchanged"), [("fp32", "float32"), ("bf16", "float32"), ("bf16", "bf16")])
def test_ddp_of_one_rank_takes_the_same_step(
    device: torch.device,
    two_layers: ComparedModelConfig,
    precision: Precision,
    exchanged: GradientExchange,
    tmp_path: Path,
) -> None:
    """Over NCCL (gloo on the CPU): its buckets, hooks and `no_sync`, without another GPU."""
    alone = trained_model(two_layers, precision, device)
    expected = step_on(alone, two_layers, device, precision, 1).values
    together = trained_model(two_layers, precision, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        wrapped = distribute(together, Worker(device=device), static_graph=False, exchanged=exchanged)
        got = step_on(wrapped, two_layers, device, precision, 1, may_wait=True).values
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(got, expected, rtol=2e-3 if exchanged == "bf16" else 1e-3, atol=1e-5)
    own = dict(alone.named_parameters())
    for name, parameter in together.named_parameters():
        torch.testing.assert_close(parameter, own[name], rtol=1e-3, atol=3e-4, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_deterministic_steps_have_the_same_bits(
    device: torch.device, two_layers: ComparedModelConfig, precision: Precision
) -> None:
    results = []
    with numerics("float32", deterministic=True):
        for _ in range(2):
            trained = trained_model(two_layers, precision, device)
            values = step_on(trained, two_layers, device, precision, 2, may_wait=True).values
            results.append([values, *trained.parameters()])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_the_head_is_channels_last(device: torch.device, two_layers: ComparedModelConfig) -> None:
    """Maps and weights of every 3 x 3 convolution of the head, so that cuDNN copies none."""
    trained = trained_model(two_layers, "bf16", device)
    layouts: list[bool] = []

    def note(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module.weight, torch.Tensor)
        layouts.extend(each.is_contiguous(memory_format=torch.channels_last) for each in (args[0], module.weight))

    for module in trained.model.get_submodule("head").modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(note)
    trained(*inputs_of(two_layers, 2, device))
    assert layouts
    assert all(layouts)
