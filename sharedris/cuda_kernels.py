"""Attention over padded text by a flash kernel on GPUs: `use_cuda_kernels(model)` swaps it in. Elsewhere nothing runs.

torch's fused attention takes a flash kernel only without a mask; with the mask of padded text it takes a slower kernel.
Here the keys of a batch are cut into sequences in place of a mask: the visible keys of a sample, which all of its
queries read, then its padding, which no query reads. The function is the same as with the mask, for padded queries too.
The sequences' bounds are computed on the device, so that the host never waits for it.

Shapes: B batch, H heads, N query tokens, M key tokens, d channels of a head; Q = B N and K = B M tokens in a row.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn

from sharedris.layers import FusedAttention

FIRST_CAPABILITY = (8, 0)
"""Of the GPUs (A100 and later) that torch's flash kernel supports."""
_WIDEST_HEAD, _HEAD_STEP = 256, 8
_FLASH_DTYPES = (torch.bfloat16, torch.float16)


def use_cuda_kernels(model: nn.Module) -> None:
    """Make the attentions of a model on a GPU read padded text by a flash kernel; does nothing on other devices.

    Only the classes of the modules change. A model that is moved to a CPU later runs torch's kernels again.
    """
    if has_flash(next(model.parameters()).device):
        use_varlen_attention(model)


def has_flash(device: torch.device) -> bool:
    """Return whether torch has a flash kernel for a device."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FIRST_CAPABILITY


def use_varlen_attention(model: nn.Module) -> None:
    """Swap each fused attention of a model for `VarlenAttention`, on any device."""
    bounds = _NewestBounds()
    for module in model.modules():
        if type(module) is FusedAttention:
            module.__class__ = VarlenAttention
            cast(VarlenAttention, module).newest_bounds = bounds


def fits_flash(query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor) -> bool:
    """Return whether the flash kernel takes the operands: half precision, alike, with heads of a width that it has.

    float32 stays with torch's fused attention and the mask.
    """
    width = query_BHNd.shape[-1]
    return (
        query_BHNd.device.type != "cpu"
        and query_BHNd.dtype in _FLASH_DTYPES
        and query_BHNd.dtype == key_BHMd.dtype == value_BHMd.dtype
        and width % _HEAD_STEP == 0
        and width <= _WIDEST_HEAD
    )


def sequence_bounds(visible_B11M: Tensor, batch: int, queries: int) -> tuple[Tensor, Tensor]:
    """Return where the 2 B sequences of queries and of keys begin and end, each int32 (2 B + 1).

    Sample b has two sequences: all of its queries with its visible keys, then no query with its hidden keys.

    Args:
        visible_B11M: True where a key may be attended; the visible keys of a sample come first.
        batch: B.
        queries: N.
    """
    keys, device = visible_B11M.shape[-1], visible_B11M.device
    number = torch.arange(2 * batch + 1, dtype=torch.int32, device=device)
    visible_keys_B = visible_B11M.flatten(1).sum(dim=1, dtype=torch.int32).expand(batch)
    starts_B = number[:batch] * keys
    within = torch.stack([starts_B, starts_B + visible_keys_B], dim=1).flatten()
    key_bounds = torch.cat([within, number[batch : batch + 1] * keys])
    return (number + 1) // 2 * queries, key_bounds


class _NewestBounds:
    """The bounds of the newest mask, shared by a model's attentions: layers of one forward pass share their mask."""

    def __init__(self) -> None:
        self._visible_B11M: Tensor | None = None
        self._queries = 0
        self._bounds: tuple[Tensor, Tensor] | None = None

    def of(self, visible_B11M: Tensor, batch: int, queries: int) -> tuple[Tensor, Tensor]:
        """Return `sequence_bounds`; a mask must not be changed in place. In a graph the compiler drops repetitions."""
        if torch.compiler.is_compiling():
            return sequence_bounds(visible_B11M, batch, queries)
        if self._bounds is None or visible_B11M is not self._visible_B11M or queries != self._queries:
            self._visible_B11M, self._queries = visible_B11M, queries
            _require_visible_first(visible_B11M)
            self._bounds = sequence_bounds(visible_B11M, batch, queries)
        return self._bounds


def _require_visible_first(visible_B11M: Tensor) -> None:
    """Let the device fail, without waiting for it, where a hidden key of a module's mask comes before a visible one."""
    hidden_then_visible = ~visible_B11M[..., :-1] & visible_B11M[..., 1:]
    torch._assert_async(~hidden_then_visible.any(), "a mask of attention hides a key before a visible one")


class VarlenAttention(FusedAttention):
    """`FusedAttention` that reads padded text by a flash kernel where one takes the operands."""

    newest_bounds: _NewestBounds

    def forward(self, query_BHNd: Tensor, key_BHMd: Tensor, value_BHMd: Tensor, visible_B11M: Tensor | None) -> Tensor:
        """Return the attended values, (B, H, N, d); the visible keys of a sample come first."""
        if visible_B11M is None or not fits_flash(query_BHNd, key_BHMd, value_BHMd):
            return super().forward(query_BHNd, key_BHMd, value_BHMd, visible_B11M)
        batch, queries, keys = query_BHNd.shape[0], query_BHNd.shape[2], key_BHMd.shape[2]
        query_bounds, key_bounds = self.newest_bounds.of(visible_B11M, batch, queries)
        # Views: the projections lay tokens out before heads, as the kernel does.
        query_QHd, key_KHd, value_KHd = (
            tokens.transpose(1, 2).flatten(0, 1) for tokens in (query_BHNd, key_BHMd, value_BHMd)
        )
        attended = varlen_attn(query_QHd, key_KHd, value_KHd, query_bounds, key_bounds, queries, keys)
        assert isinstance(attended, Tensor)  # a pair only with `return_aux`
        return torch.unflatten(attended, 0, (batch, queries)).transpose(1, 2)
