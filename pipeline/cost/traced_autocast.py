"""Autocast for a trace on the meta device, where torch has none: the casts that a CPU or a GPU would make.

A device's own autocast acts below Python on tensors of that device only. A trace has neither data nor device, so the
same rules are applied to the calls. The lists name what models of this project call; torch documents them as "ops that
autocast" of CUDA and of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

_PRODUCTS = {
    *("linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm"),
    *("addmm", "baddbmm", "einsum", "scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu"),
}
_FULL_PRECISION = {
    "cuda": {
        *("layer_norm", "group_norm", "softmax", "log_softmax", "softmin", "norm", "sum", "prod", "cumsum", "exp"),
        *("expm1", "log", "log2", "log1p", "pow", "__pow__", "reciprocal", "rsqrt", "mse_loss", "smooth_l1_loss"),
        *("binary_cross_entropy_with_logits", "l1_loss", "nll_loss", "cross_entropy", "cosine_similarity", "kl_div"),
        *("cdist", "softplus"),
    },
    "cpu": {"binary_cross_entropy", "smooth_l1_loss", "mse_loss", "cosine_embedding_loss", "nll_loss", "cdist"},
}


def trace_autocast(model: nn.Module, device: str, dtype: torch.dtype, *, keeps_casts: bool = False) -> None:
    """Cast as autocast of a device does while any module of the model runs, recomputed layers included.

    By hooks, since torch switches a function mode off within `backward`, where layers are recomputed.

    Args:
        model: on the meta device.
        device: "cuda" or "cpu"; the latter keeps norms and softmax in the lower precision.
        dtype: of products.
        keeps_casts: remember cast weights when the outermost module has ended, as autocast does in an outer context.
    """
    casts, running = _Casts(device, dtype), [0]

    def enter(*_: Any) -> None:
        running[0] += 1
        if running[0] == 1:
            casts.__enter__()  # type: ignore[no-untyped-call]

    def leave(*_: Any) -> None:
        running[0] -= 1
        if running[0] == 0:
            casts.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            if not keeps_casts:
                casts.forget()  # as at the end of an autocast context

    for module in model.modules():
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave, always_call=True)  # recomputation ends by an exception


class _Casts(TorchFunctionMode):
    """Casts the arguments of calls; a weight is cast once per context."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.full = _FULL_PRECISION[device]
        self.dtype = dtype
        self._casts: dict[int, torch.Tensor] = {}

    def forget(self) -> None:
        """Forget the cast weights."""
        self._casts.clear()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the function with cast arguments."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").partition(".")[0]
        wanted = self.dtype if name in _PRODUCTS else torch.float32 if name in self.full else None
        if wanted is not None:
            args, kwargs = tree_map_only(torch.Tensor, lambda tensor: self._cast(tensor, wanted), (args, kwargs))
        return func(*args, **kwargs)

    def _cast(self, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if not tensor.is_floating_point() or tensor.dtype == dtype:
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad and dtype == self.dtype):
            return tensor.to(dtype)
        if id(tensor) not in self._casts:
            self._casts[id(tensor)] = tensor.to(dtype)
        return self._casts[id(tensor)]
