"""The shared vision-language encoder: BEiT-3 with separate streams that are joined only for attention.

The same function as Microsoft's `torchscale.model.BEiT3` (equations 1 to 5); the golden file proves it. Every parameter
of a layer exists twice, for visual and for text tokens ("multiway"); only the attention reads both.

Shapes: B batch, V visual tokens (class token + patches), T text tokens, S = V + T, D encoder width, H heads, d = D / H.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sharedris.attention_row import ClassTokenAttention, attentions_of, row_of_joined_tokens
from sharedris.config import EncoderConfig
from sharedris.draws import RandomModule
from sharedris.layers import FusedAttention, add_residual, merge_heads

FIRST_POSITION = 2
"""Row of the position tables that belongs to the first token; rows 0 and 1 exist in the official weights, unused."""


class Streams(NamedTuple):
    """The tokens of both modalities."""

    visual_BVD: Tensor
    text_BTD: Tensor

    def joined(self) -> Tensor:
        """Return [visual class, patches, text class, words, end, padding], (B, S, D)."""
        return torch.cat(self, dim=1)


class Embedding(nn.Module):
    """Embeds patches and word pieces (equations 1 and 2)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.image_size = config.image_size
        self.patches = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.words = nn.Embedding(config.vocabulary_size, width)
        self.visual_positions = nn.Parameter(torch.empty(config.grid**2 + 1 + FIRST_POSITION, width))
        self.text_positions = nn.Parameter(torch.empty(config.text_positions, width))
        nn.init.normal_(self.words.weight, std=width**-0.5)
        for table in (self.visual_positions, self.text_positions, self.class_token):
            nn.init.normal_(table, std=0.02)

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None) -> Streams:
        """Return the tokens with their positions added; padded ones are zero.

        Raises:
            ValueError: when the image is not of the configured size.
        """
        check_image_size(image_BCHW, self.image_size)
        patches_BPD = self.patches(image_BCHW).flatten(2).transpose(1, 2)
        class_token_B1D = self.class_token.expand(patches_BPD.shape[0], -1, -1).to(patches_BPD.dtype)
        visual_BVD = torch.cat([class_token_B1D, patches_BPD], dim=1) + self.visual_positions[FIRST_POSITION:]
        last = FIRST_POSITION + token_ids_BT.shape[1]
        text_BTD = self.words(token_ids_BT) + self.text_positions[FIRST_POSITION:last]
        if padding_BT is not None:
            text_BTD = text_BTD.masked_fill(padding_BT[..., None], 0.0)
        return Streams(visual_BVD, text_BTD)


class Branch(nn.Module):
    """One modality's parameters of a layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, eps = config.width, config.layer_norm_eps
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.inner_norm = nn.LayerNorm(width, eps=eps)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, config.mlp_width)
        self.hidden_norm = nn.LayerNorm(config.mlp_width, eps=eps)
        self.fc2 = nn.Linear(config.mlp_width, width)
        self._initialize(math.sqrt(math.log(2 * config.layers)))

    def _initialize(self, gain: float) -> None:
        """Initialise as torchscale does for layers with inner norms: v, out and the MLP take a depth-wise gain."""
        query, key, value = self.qkv.weight.chunk(3)
        for part, part_gain in ((query, 2**-0.5), (key, 2**-0.5), (value, gain * 2**-0.5)):
            nn.init.xavier_uniform_(part, gain=part_gain)
        for layer in (self.out, self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight, gain=gain)
        for layer in (self.qkv, self.out, self.fc1, self.fc2):
            nn.init.zeros_(layer.bias)

    def project(self, tokens_BND: Tensor) -> Tensor:
        """Return queries, keys and values, (B, N, 3, H, d), by one matrix product."""
        return torch.unflatten(self.qkv(self.attention_norm(tokens_BND)), -1, (3, self.heads, -1))

    def attention_output(self, tokens_BND: Tensor, attended_BND: Tensor, keep_B11: Tensor | None) -> Tensor:
        """Return tokens + out(LN(attended)), the rest of equation 4."""
        return add_residual(self.out(self.inner_norm(attended_BND)), tokens_BND, keep_B11)

    def feed_forward(self, tokens_BND: Tensor, keep_B11: Tensor | None) -> Tensor:
        """Return tokens + MLP(LN(tokens)), equation 5."""
        hidden_BNF = functional.gelu(self.fc1(self.mlp_norm(tokens_BND)))
        return add_residual(self.fc2(self.hidden_norm(hidden_BNF)), tokens_BND, keep_B11)


class EncoderLayer(RandomModule):
    """A multiway layer: equations 4 and 5."""

    def __init__(self, config: EncoderConfig, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.visual = Branch(config)
        self.text = Branch(config)
        self.attend = FusedAttention()

    def forward(self, visual_BVD: Tensor, text_BTD: Tensor, visible_B11S: Tensor | None) -> Streams:
        """Return the layer's output; `visible_B11S` is False at padding."""
        qkv_BS3Hd = torch.cat([self.visual.project(visual_BVD), self.text.project(text_BTD)], dim=1)
        query, key, value = (part.transpose(1, 2) for part in qkv_BS3Hd.unbind(2))
        attended_BSD = merge_heads(self.attend(query, key, value, visible_B11S))
        visual_tokens = visual_BVD.shape[1]
        keep = self._keep(visual_BVD, 0)
        visual_BVD = self.visual.attention_output(visual_BVD, attended_BSD[:, :visual_tokens], keep)
        text_BTD = self.text.attention_output(text_BTD, attended_BSD[:, visual_tokens:], keep)
        keep = self._keep(visual_BVD, 1)
        return Streams(self.visual.feed_forward(visual_BVD, keep), self.text.feed_forward(text_BTD, keep))

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return the joint attention."""
        return [ClassTokenAttention(self.attend, row_of_joined_tokens)]

    def _keep(self, tokens_BND: Tensor, part: int) -> Tensor | None:
        """Draw stochastic depth once for both modalities of a sample, as torchscale does."""
        draws = self.training and self.drop_path > 0
        return self.sample_keep(tokens_BND, self.drop_path, part=part) if draws else None


class ImageTextEncoder(nn.Module):
    """What the model expects of an encoder.

    Attributes:
        activation_checkpointing: recompute layers in the backward pass instead of keeping what they computed.
    """

    activation_checkpointing: bool = False

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> list[Streams]:
        """Return the tokens of the stages that an FPN may read, the last of them at the end."""
        raise NotImplementedError

    def freeze_unread_text(self) -> None:
        """Freeze the parameters that get no gradient where no module reads the text of the last stage.

        None, unless an encoder has parameters that only this text passes.
        """


class Encoder(ImageTextEncoder):
    """BEiT-3.

    Args:
        config: sizes.
        final_norm: add the norm after the last layer. The paper's stages are taken before it, so that Shared-RIS has
            none (its parameters would never get a gradient); BEiT-3 itself has one.
    """

    def __init__(self, config: EncoderConfig, *, final_norm: bool = False) -> None:
        super().__init__()
        self.embedding = Embedding(config)
        rates = [config.drop_path * depth / max(config.layers - 1, 1) for depth in range(config.layers)]
        self.layers = nn.ModuleList(EncoderLayer(config, rate) for rate in rates)
        self.final_norm: nn.ModuleList | None = None
        if final_norm:
            self.final_norm = nn.ModuleList(nn.LayerNorm(config.width, eps=config.layer_norm_eps) for _ in range(2))

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> list[Streams]:
        """Return the embedding and every layer's output before the final norm: `layers + 1` entries.

        Args:
            image_BCHW: normalized image at the configured size.
            token_ids_BT: ids of the word pieces.
            padding_BT: True at padding; None when nothing is padded.
        """
        streams = self.embedding(image_BCHW, token_ids_BT, padding_BT)
        visible_B11S = visible_keys(padding_BT, streams.visual_BVD.shape[1])
        outputs = [streams]
        for layer in self.layers:
            if self.activation_checkpointing and self.training:
                streams = checkpoint(layer, *streams, visible_B11S, use_reentrant=False)
            else:
                streams = layer(*streams, visible_B11S)
            outputs.append(streams)
        return outputs

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return that of the last layer."""
        return attentions_of([self.layers[-1]])

    def freeze_unread_text(self) -> None:
        """Freeze what follows the last layer's attention on the side of the text: patches read its keys and values."""
        text = self.layers[-1].get_submodule("text")
        for name in ("inner_norm", "out", "mlp_norm", "fc1", "hidden_norm", "fc2"):
            text.get_submodule(name).requires_grad_(False)

    def normalize(self, streams: Streams) -> Streams:
        """Return the final norm of the last layer's output, which is BEiT-3's output."""
        assert self.final_norm is not None, "built without the final norm"
        return Streams(*(norm(tokens) for norm, tokens in zip(self.final_norm, streams, strict=True)))


def visible_keys(padding_BT: Tensor | None, visual_tokens: int) -> Tensor | None:
    """Return which of the joined tokens may be attended, (B, 1, 1, S), or None when all may."""
    if padding_BT is None:
        return None
    return ~functional.pad(padding_BT, (visual_tokens, 0), value=False)[:, None, None, :]


def visible_text(visible_B11S: Tensor | None, visual_tokens: int) -> Tensor | None:
    """Return the part of `visible_keys` that belongs to the text, (B, 1, 1, T)."""
    return None if visible_B11S is None else visible_B11S[..., visual_tokens:]


def check_image_size(image_BCHW: Tensor, image_size: int) -> None:
    """Raise a ValueError for an image of another size than the model's."""
    if image_BCHW.shape[-2:] != (image_size, image_size):
        raise ValueError(f"image is {tuple(image_BCHW.shape)}, the model takes {image_size}x{image_size}")
