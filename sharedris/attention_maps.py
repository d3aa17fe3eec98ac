"""Attention maps of the text class token, as in the paper's supplement (figures 7 and 10).

The row of the text class token over the patches, mean over heads: of the encoder's last layer, of the K stages of the
FPN (their mean), of the decoder's last layer. Hooks compute that row in addition to the fused attention, so that the
maps come from the forward pass that makes the mask.

Shapes: B batch, H heads, N queries, M keys, d channels of a head, V visual tokens, T text tokens, G side of the grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sharedris.attention_row import ClassTokenAttention, attentions_of
from sharedris.layers import attention_weights
from sharedris.model import SharedRis

COMPONENTS = ("encoder", "fpn", "decoder")


def shows_attention(model: nn.Module, component: str) -> bool:
    """Return whether a part of the model has an attention whose map can be shown."""
    part = getattr(model, component, None)
    return isinstance(part, nn.Module) and bool(attentions_of([part]))


@torch.no_grad()
def forward_with_attention(
    model: SharedRis, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the logits of one forward pass and its attention maps, float (B, G, G), by component.

    A part without attention has no map. Values are attention weights: a map and the weights of tokens other than
    patches add up to 1.
    """
    grid = model.config.encoder.grid
    sources = {name: attentions_of([model.get_submodule(name)]) for name in COMPONENTS}
    with ExitStack() as stack:
        rows = {
            name: [stack.enter_context(_recorded_row(attention, grid**2 + 1)) for attention in attentions]
            for name, attentions in sources.items()
            if attentions
        }
        logits_BHW = model(image_BCHW, token_ids_BT, padding_BT)
    maps = {name: torch.stack([row[0] for row in recorded]).mean(dim=0) for name, recorded in rows.items()}
    return logits_BHW, {name: torch.unflatten(map_BP, 1, (grid, grid)) for name, map_BP in maps.items()}


@contextmanager
def _recorded_row(attention: ClassTokenAttention, visual_tokens: int) -> Iterator[list[Tensor]]:
    """Record the text class token's weights over the patches, (B, P), of one attention."""
    recorded: list[Tensor] = []

    def record(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        row = attention.row(inputs, visual_tokens)
        weights_BH1M = attention_weights(row.query_BH1d.float(), row.key_BHMd.float(), row.visible_B11M)
        recorded.append(weights_BH1M[:, :, 0, 1:visual_tokens].mean(dim=1))

    handle = attention.module.register_forward_pre_hook(record)
    try:
        yield recorded
    finally:
        handle.remove()
