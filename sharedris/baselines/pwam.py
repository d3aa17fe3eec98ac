"""The pixel-word attention module of LAVT (Yang et al., CVPR 2022, section 3.2), at each stage of our FPN (table IV).

Each pixel attends to the words, and the result is multiplied with the pixel. Norms are over the pixels of one image and
channel, never over words, of which some are padding. Written from the paper and the behavior of its authors' code; the
golden file compares both.

Shapes: B batch, P patches, V = P + 1, T text tokens, S = V + T, C channels, H heads, d = C / H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.attention_row import ClassTokenAttention
from sharedris.baselines.config import ComparedFpnConfig
from sharedris.encoder import visible_text
from sharedris.fusion import Fusion, SelfAttentionFusion
from sharedris.layers import attention_weights, initialize_linear, merge_heads, split_heads


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context without autocast.

    Pixels that attend to the same words differ little, and a norm over pixels enlarges the differences: in bfloat16
    they would be mostly rounding.
    """
    return torch.autocast("cuda" if tensor.is_cuda else "cpu", enabled=False)


def normalize_pixels(pixels_BPC: Tensor) -> Tensor:
    """Return each channel of each sample with mean 0 and variance 1 over its pixels."""
    return functional.instance_norm(pixels_BPC.transpose(1, 2)).transpose(1, 2)


class Pwam(nn.Module):
    """The module.

    Args:
        width: C, channels of the pixels and of the result.
        text_width: channels of the words.
        heads: of the attention; its scores are divided by the root of C, not of d.
    """

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.pixels = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(text_width, width)
        self.value = nn.Linear(text_width, width)
        self.read = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        initialize_linear(self)

    def forward(self, pixels_BPC: Tensor, words_BTD: Tensor, visible_B11T: Tensor | None) -> Tensor:
        """Return the features shared by pixels and words, (B, P, C), in float32 at every precision."""
        with full_precision(pixels_BPC):
            return self._common(pixels_BPC.float(), words_BTD.float(), visible_B11T)

    def _common(self, pixels_BPC: Tensor, words_BTD: Tensor, visible_B11T: Tensor | None) -> Tensor:
        query = split_heads(normalize_pixels(self.query(pixels_BPC)), self.heads) * self.heads**-0.5
        key, value = split_heads(self.key(words_BTD), self.heads), split_heads(self.value(words_BTD), self.heads)
        read_BPC = merge_heads(attention_weights(query, key, visible_B11T) @ value)
        read_BPC = normalize_pixels(self.read(read_BPC))
        return functional.gelu(self.out(functional.gelu(self.pixels(pixels_BPC)) * read_BPC))


class LanguageGate(nn.Module):
    """LAVT's gate: the fraction of each channel that returns to the pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.open = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        for layer in (self.squeeze, self.open):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)

    def forward(self, common_BPC: Tensor) -> Tensor:
        """Return (B, P, C)."""
        gate_BPC: Tensor = self.open(functional.relu(self.squeeze(common_BPC))).tanh()
        return gate_BPC * common_BPC


class PwamFusion(Fusion):
    """PWAM in parallel with our self-attention, in the place of a stage's fusion.

    The paper states only that it was adapted, with 14 M / 13 G: module and self-attention without a gate.
    Assumed: both read the projected stage, and both are added to it.
    """

    def __init__(self, width: int, config: ComparedFpnConfig) -> None:
        super().__init__()
        options = config.pwam
        self.shared = SelfAttentionFusion(width, config.fusion) if options.keep_self_attention else None
        self.pwam = Pwam(width, width, options.heads)
        self.gate = LanguageGate(width) if options.gate else nn.Identity()

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return the joined tokens, (B, S, W), with the patches updated from the text."""
        visible_B11T = visible_text(visible_B11S, visual_tokens)
        patches_BPW, text_BTW = tokens_BSW[:, 1:visual_tokens], tokens_BSW[:, visual_tokens:]
        common_BPW = self.gate(self.pwam(patches_BPW, text_BTW, visible_B11T))
        if self.shared is not None:
            tokens_BSW = self.shared(tokens_BSW, visible_B11S, visual_tokens)
        padding = (0, 0, 1, text_BTW.shape[1])
        return tokens_BSW + functional.pad(common_BPW, padding)

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return that of the self-attention; PWAM has only pixels as queries."""
        return [] if self.shared is None else self.shared.class_token_attentions()
