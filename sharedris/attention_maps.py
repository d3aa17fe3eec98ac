"""Where the text class token looks: attention maps as the paper's supplement describes them (figures 7 and 10).

The row of the text class token over the patches, mean over heads: of the encoder's last layer, of the K stages of the
FPN (their mean), of the decoder's last layer. Hooks compute that one row beside the fused attention, so that the maps
come from the very forward pass that makes the mask.

Shapes: B batch, H heads, N queries, M keys, d channels of a head, V visual tokens, T text tokens, G side of the grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sharedris.baselines.pwam import PwamFusion
from sharedris.decoder import DecoderLayer, SharedDecoder
from sharedris.encoder import Encoder
from sharedris.fpn import SharedFpn
from sharedris.fusion import BiDirectionFusion, CrossAttentionFusion, SelfAttentionFusion
from sharedris.layers import attention_weights
from sharedris.model import SharedRis


def attention_maps(
    model: SharedRis, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None
) -> dict[str, Tensor]:
    """Return the maps by component, float (B, G, G): "encoder", "fpn", "decoder"; without those that do not attend.

    Values are attention weights: a map and what the token gives to non-patches add up to 1.
    """
    return forward_with_attention(model, image_BCHW, token_ids_BT, padding_BT)[1]


@torch.no_grad()
def forward_with_attention(
    model: SharedRis, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the logits of one forward pass and its attention maps, as `attention_maps` describes them."""
    grid = model.config.encoder.grid
    sources: dict[str, list[nn.Module]] = {}
    if isinstance(model.encoder, Encoder):  # separate encoders of image and text hold no such row
        sources["encoder"] = [model.encoder.layers[-1]]
    if isinstance(model.fpn, SharedFpn) and (
        model.config.fpn.kind != "pwam" or model.config.fpn.pwam.keep_self_attention
    ):
        sources["fpn"] = list(model.fpn.fusions)
    if isinstance(model.decoder, SharedDecoder) and len(model.decoder.layers):
        last = model.decoder.layers[-1]
        assert isinstance(last, DecoderLayer)
        sources["decoder"] = [last.fusion]
    with ExitStack() as stack:
        rows = {
            name: [stack.enter_context(_recorded_row(module, grid**2 + 1)) for module in modules]
            for name, modules in sources.items()
        }
        logits_BHW = model(image_BCHW, token_ids_BT, padding_BT)
    maps = {name: torch.stack([row[0] for row in recorded]).mean(dim=0) for name, recorded in rows.items()}
    return logits_BHW, {name: map_BP.unflatten(1, (grid, grid)) for name, map_BP in maps.items()}


@contextmanager
def _recorded_row(module: nn.Module, visual_tokens: int) -> Iterator[list[Tensor]]:
    """Record the text class token's weights over the patches, (B, P), of the attention inside a module."""
    recorded: list[Tensor] = []

    def record(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        query_BH1d, key_BHMd, visible = _class_token_row(module, inputs, visual_tokens)
        weights_BH1M = attention_weights(query_BH1d.float(), key_BHMd.float(), visible)
        recorded.append(weights_BH1M[:, :, 0, 1:visual_tokens].mean(dim=1))

    handle = _attending(module).register_forward_pre_hook(record)
    try:
        yield recorded
    finally:
        handle.remove()


def _attending(module: nn.Module) -> nn.Module:
    """Return the submodule whose inputs are the queries and keys of the text class token."""
    if isinstance(module, PwamFusion):
        assert module.shared is not None, "PWAM by itself has no row of the text class token"
        module = module.shared
    if isinstance(module, CrossAttentionFusion):
        return module.attend_text
    if isinstance(module, SelfAttentionFusion):
        return module.attention.attend
    attend = module.attend
    assert isinstance(attend, nn.Module)
    return attend


def _class_token_row(
    module: nn.Module, inputs: tuple[Any, ...], visual_tokens: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the query of the text class token, the keys it sees, and which of them are visible."""
    if isinstance(module, BiDirectionFusion):  # text reads the visual tokens with its keys as queries
        keys_BHVd, keys_BHTd = inputs[:2]
        return keys_BHTd[:, :, :1], keys_BHVd, None
    query_BHNd, key_BHMd, _, visible = inputs
    row = 0 if isinstance(module, CrossAttentionFusion) else visual_tokens
    return query_BHNd[:, :, row : row + 1], key_BHMd, visible
