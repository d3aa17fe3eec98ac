"""A training step traced on the meta device, in seconds and without data: what is alive when, and every kernel.

The meta device computes shapes only. A dispatch mode notes each storage from its creation to its release, and each
kernel with its operations and bytes. So the peak is that of forward and backward in their own order, temporaries
included, not a sum over layers.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from pipeline.cost.traced_autocast import trace_autocast
from pipeline.precision import AUTOCAST_DTYPE
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import LossConfig, Precision
from sharedris.encoder import ImageTextEncoder
from sharedris.layers import ExplicitAttention, FusedAttention
from sharedris.loss import pop_auxiliary_loss, segmentation_loss

DeviceKind = Literal["cuda", "cpu"]
aten = torch.ops.aten


class Operand(NamedTuple):
    """A tensor that a kernel was called with, without its values."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


class Call(NamedTuple):
    """What a kernel was called with: an `Operand` for each tensor, a tuple for each list or dict."""

    operator: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One launched kernel.

    Attributes:
        name: of the operator.
        flops: of products, two per multiply-accumulate; 0 for all others.
        bytes_moved: of what is read and written once.
        dtype: of the result.
        call: with which it can be repeated; None for one that was not traced.
    """

    name: str
    flops: int
    bytes_moved: int
    dtype: torch.dtype
    call: Call | None = None


@dataclass(frozen=True, kw_only=True)
class StepTrace:
    """Bytes that one worker holds in a training step, and the kernels of one micro-batch's forward and backward.

    `parameters` counts the trainable tensors.
    """

    weights: int
    parameters: int
    gradients: int
    optimizer: int
    activations: int
    kernels: tuple[Kernel, ...]

    @property
    def peak(self) -> int:
        """Bytes at the highest moment."""
        return self.weights + self.gradients + self.optimizer + self.activations


@functools.lru_cache(maxsize=256)
def trace_step(
    config: ComparedModelConfig,
    *,
    micro_batch_size: int,
    precision: Precision,
    checkpointing: bool = False,
    device: DeviceKind = "cuda",
    keeps_gradients: bool = False,
    loss: LossConfig = LossConfig(),  # noqa: B008 frozen
) -> StepTrace:
    """Return the trace of a step with full sentences.

    Args:
        config: of the model.
        micro_batch_size: samples of a forward.
        precision: of the forward.
        checkpointing: whether the encoder's layers are recomputed in the backward pass.
        device: whose autocast and attention are traced.
        keeps_gradients: whether gradients exist before the backward pass: of DDP's buckets, or of an earlier forward.
        loss: of the recipe.

    Raises:
        RuntimeError, NotImplementedError: of torch, where a module reads values, which a trace does not have.
    """
    with torch.device("meta"):
        model = build_model(config).train()
    _prepare(model, checkpointing=checkpointing, explicit=device == "cpu" and precision != "fp32")
    if precision != "fp32":
        trace_autocast(model, device, AUTOCAST_DTYPE[precision])
    live = _Live()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with live:
        live.add_all([*model.parameters(), *model.buffers()])
        weights = live.bytes
        if keeps_gradients:
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)
        _forward_and_backward(model, _inputs(config, micro_batch_size), loss)
    gradients = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
    optimizer = 2 * gradients  # AdamW's two moments; its fused kernel needs no further memory
    # What is alive after the backward pass, with all gradients, may exceed the peak of small batches.
    activations = max(live.peak - weights - gradients, live.bytes - weights - gradients)
    return StepTrace(
        weights=weights,
        parameters=len(parameters),
        gradients=gradients,
        optimizer=optimizer,
        activations=activations,
        kernels=tuple(live.kernels),
    )


def trace_forward(config: ComparedModelConfig, *, keeps_casts: bool = False) -> tuple[Kernel, ...]:
    """Return the kernels of a GPU's forward pass of one sample in evaluation, in bf16.

    Args:
        config: of the model.
        keeps_casts: trace a later forward pass, which finds the weights cast (`pipeline.precision.weights_cast_once`).
    """
    with torch.device("meta"):
        model = build_model(config).eval()
    return trace_module(model, (*_inputs(config, 1)[:2], None), keeps_casts=keeps_casts)


def trace_module(model: nn.Module, inputs: tuple[Any, ...], *, keeps_casts: bool = False) -> tuple[Kernel, ...]:
    """Return the kernels of a GPU's forward pass in bf16 or fp16, of any model on the meta device."""
    _prepare(model, checkpointing=False, explicit=False)
    trace_autocast(model, "cuda", AUTOCAST_DTYPE["bf16"], keeps_casts=keeps_casts)
    for _ in range(1 + keeps_casts):
        live = _Live()
        with torch.no_grad(), live:
            model(*inputs)
    return tuple(live.kernels)


class _MetaAttention(FusedAttention):
    """Attention by a flash kernel: it keeps its inputs, its output and one number a row, and no weights."""

    def forward(self, query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, visible_B11M: Tensor | None) -> Tensor:
        """Return the attended values."""
        flash = aten._scaled_dot_product_flash_attention_for_cpu  # has shapes on the meta device, unlike CUDA's
        attended_BHNd: Tensor = flash(query_BHNd, key_BHMd, value_BHMd, attn_mask=visible_B11M)[0]
        return attended_BHNd


def _prepare(model: nn.Module, *, checkpointing: bool, explicit: bool) -> None:
    """Set the attention that the device runs, and checkpointing where the model has it."""
    for module in model.modules():
        if isinstance(module, FusedAttention):  # on CPUs bfloat16 takes the explicit form (sharedris/cpu_kernels.py)
            kind: type[nn.Module] = ExplicitAttention if explicit else _MetaAttention
            module.__class__ = kind  # type: ignore[assignment]  # same state, other forward
        if isinstance(module, ImageTextEncoder):
            module.activation_checkpointing = checkpointing


def _inputs(config: ComparedModelConfig, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    encoder = config.encoder
    side = encoder.image_size
    return (
        torch.empty(batch, 3, side, side, device="meta"),
        torch.zeros(batch, encoder.text_tokens, dtype=torch.int64, device="meta"),
        torch.zeros(batch, side, side, dtype=torch.uint8, device="meta"),
    )


def _forward_and_backward(model: nn.Module, inputs: tuple[Tensor, Tensor, Tensor], loss: LossConfig) -> None:
    image_BCHW, token_ids_BT, mask_BHW = inputs
    logits_BHW = model(image_BCHW, token_ids_BT, None)
    total = segmentation_loss(logits_BHW.float(), mask_BHW, loss).total
    own = pop_auxiliary_loss(model, mask_BHW)
    (total if own is None else total + own).backward()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What an operator did for operands of the same shapes: a model's layers are alike, and torch's answer is slow."""

    kernel: Kernel
    in_place: bool
    outputs: tuple[tuple[torch.Size, tuple[int, ...], torch.dtype] | None, ...]
    single: bool


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each kernel, and the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self.kernels: list[Kernel] = []
        self._alive: set[int] = set()
        self._known: dict[Call, _Known] = {}
        self._views: set[Call] = set()

    def add_all(self, tensors: Iterable[Tensor]) -> None:
        """Note storages as alive until they are released."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._alive:
                self._alive.add(key)
                self.bytes += size
                self.peak = max(self.peak, self.bytes)
                weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.bytes -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, or repeat what it did for the same shapes, and note it."""
        kwargs = kwargs or {}
        key = Call(func, _shapes(args), _shapes(kwargs))
        known = self._known.get(key)
        if key in self._views:
            return func(*args, **kwargs)
        if known is None:
            out = func(*args, **kwargs)
            outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
            self._learn(key, args, kwargs, out, outputs)
        else:
            self.kernels.append(known.kernel)
            if known.in_place:
                return args[0]
            again = [None if each is None else _empty(*each) for each in known.outputs]
            out = again[0] if known.single else tuple(again)
            outputs = [tensor for tensor in again if tensor is not None]
        self.add_all(outputs)
        return out

    def _learn(self, key: Call, args: Any, kwargs: Any, out: Any, outputs: list[Tensor]) -> None:
        """Note the kernel of an operator, and remember its outputs where they are new storages or its first operand."""
        func = key.operator
        operands = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        storages = {tensor.untyped_storage()._cdata for tensor in operands}
        aliases = [tensor.untyped_storage()._cdata in storages for tensor in outputs]
        if not outputs or func._overloadpacket in _WITHOUT_KERNEL or (not func._schema.is_mutable and all(aliases)):
            if all(aliases):
                self._views.add(key)
            return
        kernel = _kernel(key, args, kwargs, out, [*operands, *outputs], outputs[0].dtype)
        self.kernels.append(kernel)
        in_place = func._schema.is_mutable and out is args[0]
        if in_place or (not func._schema.is_mutable and not any(aliases) and isinstance(out, (Tensor, tuple))):
            parts = [out] if isinstance(out, Tensor) else list(out)
            if all(part is None or isinstance(part, Tensor) for part in parts):
                shapes = tuple(None if each is None else (each.shape, each.stride(), each.dtype) for each in parts)
                self._known[key] = _Known(
                    kernel=kernel, in_place=in_place, outputs=shapes, single=isinstance(out, Tensor)
                )


_COPIES_OPERANDS = {aten.native_layer_norm}
"""They read and write a first operand once more that is not laid out in rows, within the one operator."""

_WITHOUT_KERNEL = {aten.empty, aten.empty_like, aten.empty_strided, aten.detach}


def _shapes(value: Any) -> Any:
    """Return a hashable description of operands: shapes instead of tensors."""
    if isinstance(value, Tensor):
        return Operand(value.shape, value.stride(), value.dtype)
    if isinstance(value, (tuple, list)):
        return tuple([_shapes(each) for each in value])
    if isinstance(value, dict):
        return tuple([(name, _shapes(each)) for name, each in value.items()])
    return value


def _empty(shape: torch.Size, stride: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def _kernel(call: Call, args: Any, kwargs: Any, out: Any, tensors: list[Tensor], dtype: torch.dtype) -> Kernel:
    packet = call.operator._overloadpacket
    count = _FLOPS.get(packet)
    flops = 0 if count is None else int(count(*args, **kwargs, out_val=out))
    moved = {(tensor.untyped_storage()._cdata, tensor.storage_offset()): tensor for tensor in tensors}
    bytes_moved = sum(_bytes_of(tensor) for tensor in moved.values())
    if packet in _COPIES_OPERANDS and not args[0].is_contiguous():
        bytes_moved += 2 * _bytes_of(args[0])
    return Kernel(name=packet.__name__, flops=flops, bytes_moved=bytes_moved, dtype=dtype, call=call)


def _bytes_of(tensor: Tensor) -> int:
    """Return the bytes that a tensor's elements take; repeated ones (stride 0) are read once."""
    own = math.prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return own * tensor.element_size()


def _flash_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, out_val: Any = None, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _flash_backward_flops(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, out_val: Any = None, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


_FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: _flash_flops,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _flash_backward_flops,
}
