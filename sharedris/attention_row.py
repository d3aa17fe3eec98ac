"""How a module declares which of its attentions has the text class token as a query; see `sharedris/attention_maps.py`.

Shapes: B batch, H heads, N queries, M keys, d channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn


class AttentionRow(NamedTuple):
    """One query and the keys that it attends to."""

    query_BH1d: Tensor
    key_BHMd: Tensor
    visible_B11M: Tensor | None  # None when all keys are visible


class ClassTokenAttention(NamedTuple):
    """An attention with the text class token among its queries."""

    module: nn.Module  # its inputs are queries and keys, seen by a hook
    row: Callable[[tuple[Any, ...], int], AttentionRow]  # from the module's inputs and the number of visual tokens


@runtime_checkable
class AttendsByClassToken(Protocol):
    """A module whose attention is shown as a map."""

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return its attentions with a row of the text class token; their mean is the module's map."""


def attentions_of(modules: Iterable[nn.Module]) -> list[ClassTokenAttention]:
    """Return the attentions of all modules that have one to show."""
    shown = [module for module in modules if isinstance(module, AttendsByClassToken)]
    return [attention for module in shown for attention in module.class_token_attentions()]


def row_of_joined_tokens(inputs: tuple[Any, ...], visual_tokens: int) -> AttentionRow:
    """Return the row where visual and text tokens are joined: the first after the visual tokens."""
    query_BHNd, key_BHMd, _, visible = inputs
    return AttentionRow(query_BHNd[:, :, visual_tokens : visual_tokens + 1], key_BHMd, visible)


def row_of_text_tokens(inputs: tuple[Any, ...], visual_tokens: int) -> AttentionRow:
    """Return the row where only text tokens are queries: the first."""
    return row_of_joined_tokens(inputs, 0)
