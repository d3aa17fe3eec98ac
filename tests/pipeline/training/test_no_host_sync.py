"""A training step never waits for the device: the whole step on torch's meta device, whose tensors have no values.

The meta device takes the way of a GPU (nothing here is special for it), and has an answer for every question about
shapes and none about values. A fake CUDA device would be nearer, but torch built for CPUs has no backward pass on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.config import OptimConfig, TrainConfig
from pipeline.cost.traced_autocast import trace_autocast
from pipeline.data.dataset.loader import Batch
from pipeline.distributed.grouped_batch_norm import group
from pipeline.distributed.process_group import Worker
from pipeline.training.model_with_loss import ModelWithLoss
from pipeline.training.optimizer import build_optimizer
from pipeline.training.readings import STEPS_PER_READING, UnreadSteps
from pipeline.training.step import StepResult, train_step
from sharedris.build import build_model
from sharedris.cuda_kernels import VarlenAttention, use_varlen_attention
from tests.frozen_training import micro_model

META = torch.device("meta")
ASKS_FOR_VALUES = (
    "_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2", "unique_dim", "bincount",
)  # fmt: skip


class HostSyncError(AssertionError):
    """The device was asked for values."""


class NoHostSync(TorchDispatchMode):
    """Raises where an operation would make the host wait for the device, and where values leave or enter it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ASKS_FOR_VALUES:
            raise HostSyncError(f"{func} asks the device for values")
        before = {value.device for value in torch.utils._pytree.tree_leaves((args, kwargs)) if torch.is_tensor(value)}
        moves = name in ("_to_copy", "copy_", "to", "_copy_from")
        if moves and before and ((kwargs or {}).get("device") not in {None, *before} or len(before) > 1):
            raise HostSyncError(f"{func} moves values between host and device")
        return func(*args, **(kwargs or {}))


@contextmanager
def fused_on_meta() -> Iterator[None]:
    """Let AdamW take its fused kernel on the meta device, as on a GPU."""
    with patch("torch.optim.adam._device_dtype_check_for_fused"):
        yield


def batch_on_meta(side: int, samples: int = 4) -> Batch:
    return Batch(
        image_BCHW=torch.empty(samples, 3, side, side, device=META),
        token_ids_BT=torch.empty(samples, 20, dtype=torch.int64, device=META),
        padding_BT=torch.empty(samples, 20, dtype=torch.bool, device=META),
        mask_BHW=torch.empty(samples, side, side, dtype=torch.uint8, device=META),
        samples=(),
    )


class CountedOperations(NoHostSync):
    """Counts operators by name as well."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return super().__torch_dispatch__(func, types, args, kwargs)


def step_on_meta(
    changes: dict[str, Any], precision: str = "fp32", *, prepare: Callable[[nn.Module], None] = lambda _: None
) -> tuple[StepResult, Counter[str]]:
    """Take one step of two forwards on the meta device; return its result and its operators."""
    config = replace(micro_model(), **changes)
    batch = batch_on_meta(config.encoder.image_size)
    with META:
        model = build_model(config).train()
    prepare(model)
    optim = OptimConfig()
    optimizer = build_optimizer(model, optim)
    scaler = torch.amp.GradScaler("meta", enabled=precision == "fp16")
    trained, worker = ModelWithLoss(model, TrainConfig(precision=precision)), Worker(device=META)
    with fused_on_meta(), CountedOperations() as operations:
        result = train_step(trained, optimizer, scaler, [batch, batch], optim=optim, worker=worker, step=0)
    return result, operations.counts


def kinds(fpn: str, decoder: str) -> dict[str, Any]:
    model = micro_model()
    return {"fpn": replace(model.fpn, kind=fpn), "decoder": replace(model.decoder, kind=decoder)}


def of_system(**changes: Any) -> dict[str, Any]:
    return {"system": replace(micro_model().system, **changes)}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="default"),
        *(
            pytest.param(changes, id=name, marks=pytest.mark.slow)
            for name, changes in {
                "cross_attention, bi_direction": kinds("cross_attention", "bi_direction"),
                "pwam, cgformer": kinds("pwam", "cgformer"),
                "dmmi": kinds("self_attention", "dmmi"),
                "vitdet": of_system(kind="vitdet"),
                "vilt": of_system(encoder="vilt"),
                "swin_bert": {
                    **of_system(kind="cgformer", encoder="swin_bert"),
                    "encoder": replace(micro_model().encoder, image_size=64),
                },
            }.items()
        ),
    ],
)
def test_a_step_never_asks_the_device_for_values(changes: dict[str, Any]) -> None:
    result, _ = step_on_meta(changes)
    assert result.values.device == META
    assert result.values.shape == (5,)


def test_nor_does_one_with_grouped_batch_statistics() -> None:
    def prepare(model: nn.Module) -> None:
        group(model, 2)

    result, _ = step_on_meta({}, prepare=prepare)
    assert result.values.device == META


def test_a_gpus_attention_over_padded_text_is_the_flash_kernel_and_asks_for_nothing() -> None:
    """In half precision every attention runs the kernel of variable lengths, forward and backward, without a mask."""
    attentions = []

    def prepare(model: nn.Module) -> None:
        use_varlen_attention(model)
        trace_autocast(model, "cuda", torch.bfloat16)
        attentions.extend(module for module in model.modules() if isinstance(module, VarlenAttention))

    result, counts = step_on_meta({}, prepare=prepare)
    assert result.values.device == META
    assert counts["_varlen_attn"] == counts["_varlen_attn_backward"] == 2 * len(attentions) > 4, "two forwards"
    assert not [name for name in counts if "scaled_dot_product" in name]
    masks = 2  # in a forward: the encoder's, and that of FPN and decoder
    assert counts["arange"] == 2 * masks, "the bounds of the sequences are computed once for a mask"


@pytest.mark.parametrize(
    "asks",
    [
        lambda x: x.sum().item(), lambda x: bool(x.sum() > 0), lambda x: x.nonzero(), lambda x: x.cpu(),
        lambda x: float(x.sum()), lambda x: x[x > 0], lambda x: x.to("cpu"), lambda x: x.add_(1) if x.any() else x,
    ],
)  # fmt: skip
def test_the_mode_raises_where_a_host_would_wait(asks: Callable[[torch.Tensor], Any]) -> None:
    with NoHostSync(), pytest.raises((HostSyncError, RuntimeError)):
        asks(torch.empty(3, device=META))
    with NoHostSync(), pytest.raises(HostSyncError):
        torch.ones(3).sum().item()


def test_a_device_is_read_once_in_several_steps() -> None:
    result = StepResult(
        step=0, values=torch.ones(5), samples=(), forward_seconds=0.0, backward_seconds=0.0, optimizer_seconds=0.0
    )
    on_host, on_device = (UnreadSteps(TrainConfig(), Worker(device=torch.device(name))) for name in ("cpu", "meta"))
    assert len(on_host.add(result)) == 1
    for _ in range(STEPS_PER_READING - 1):
        with NoHostSync():
            assert on_device.add(result) == []
    readings = on_device.add(result)
    assert [reading.gradient_norm for reading in readings] == [1.0] * STEPS_PER_READING
    assert len(on_device.add(result, read_now=True)) == 1
