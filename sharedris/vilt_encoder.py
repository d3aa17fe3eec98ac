"""A second encoder: a plain ViT over image and text tokens together, in the manner of ViLT (Kim et al., ICML 2021).

Every layer is one pre-norm transformer layer whose parameters serve both modalities: attention is shared from the first
layer, where BEiT-3 keeps separate parameters. The text is embedded as in BERT: words, positions, a norm. A modality
vector is added to the tokens of each side. The layers are those of a ViT, so that its weights fit
(`sharedris/vit_weights.py`). Sizes are those of `EncoderConfig`. Ours: no table of the paper has this row.

Shapes: B batch, V visual tokens (class token + patches), T text tokens, S = V + T, D encoder width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sharedris.attention_row import ClassTokenAttention, attentions_of, row_of_joined_tokens
from sharedris.config import EncoderConfig, ModelConfig
from sharedris.draws import RandomModule
from sharedris.encoder import ImageTextEncoder, Streams, check_image_size, visible_keys
from sharedris.layers import Mlp, MultiHeadAttention, add_residual

LAYER_NORM_EPS = 1e-6
"""Of every ViT, whose weights are tuned to it; `encoder.layer_norm_eps` is BEiT-3's."""


class ViltEmbedding(nn.Module):
    """Embeds patches as a ViT and words as BERT, and adds a vector per modality."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.image_size = config.image_size
        self.patches = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.visual_positions = nn.Parameter(torch.empty(config.grid**2 + 1, width))
        self.words = nn.Embedding(config.vocabulary_size, width)
        self.text_positions = nn.Parameter(torch.empty(config.text_positions, width))
        self.text_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.modality = nn.Parameter(torch.empty(2, width))
        for table in (self.visual_positions, self.text_positions, self.class_token, self.modality, self.words.weight):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor) -> Streams:
        """Return the tokens of both modalities.

        Raises:
            ValueError: when the image is not of the configured size.
        """
        check_image_size(image_BCHW, self.image_size)
        patches_BPD = self.patches(image_BCHW).flatten(2).transpose(1, 2)
        class_token_B1D = self.class_token.expand(patches_BPD.shape[0], -1, -1).to(patches_BPD.dtype)
        visual_BVD = torch.cat([class_token_B1D, patches_BPD], dim=1) + self.visual_positions
        text_BTD = self.words(token_ids_BT) + self.text_positions[: token_ids_BT.shape[1]]
        return Streams(visual_BVD + self.modality[1], self.text_norm(text_BTD) + self.modality[0])


class ViltLayer(RandomModule):
    """Pre-norm self-attention and MLP over the joined tokens."""

    def __init__(self, config: EncoderConfig, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.attention_norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.attention = MultiHeadAttention(config.width, config.heads)
        self.mlp_norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(config.width, config.mlp_width)

    def forward(self, tokens_BSD: Tensor, visible_B11S: Tensor | None) -> Tensor:
        """Return (B, S, D); `visible_B11S` is False at padding."""
        attended_BSD = self.attention(self.attention_norm(tokens_BSD), visible_B11S)
        tokens_BSD = add_residual(attended_BSD, tokens_BSD, self._keep(tokens_BSD, 0))
        return add_residual(self.mlp(self.mlp_norm(tokens_BSD)), tokens_BSD, self._keep(tokens_BSD, 1))

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return the joint attention."""
        return [ClassTokenAttention(self.attention.attend, row_of_joined_tokens)]

    def _keep(self, tokens_BSD: Tensor, part: int) -> Tensor | None:
        draws = self.training and self.drop_path > 0
        return self.sample_keep(tokens_BSD, self.drop_path, part=part) if draws else None


class ViltEncoder(ImageTextEncoder):
    """The encoder; like BEiT-3 here it ends before the final norm, whose parameters no stage would train."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder = config.encoder
        self.embedding = ViltEmbedding(encoder)
        rates = [encoder.drop_path * depth / max(encoder.layers - 1, 1) for depth in range(encoder.layers)]
        self.layers = nn.ModuleList(ViltLayer(encoder, rate) for rate in rates)

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> list[Streams]:
        """Return the embedding and every layer's output: `layers + 1` entries; arguments as for BEiT-3."""
        streams = self.embedding(image_BCHW, token_ids_BT)
        visual_tokens = streams.visual_BVD.shape[1]
        visible_B11S = visible_keys(padding_BT, visual_tokens)
        outputs, tokens_BSD = [streams], streams.joined()
        for layer in self.layers:
            if self.activation_checkpointing and self.training:
                tokens_BSD = checkpoint(layer, tokens_BSD, visible_B11S, use_reentrant=False)
            else:
                tokens_BSD = layer(tokens_BSD, visible_B11S)
            outputs.append(Streams(tokens_BSD[:, :visual_tokens], tokens_BSD[:, visual_tokens:]))
        return outputs

    def class_token_attentions(self) -> list[ClassTokenAttention]:
        """Return that of the last layer."""
        return attentions_of([self.layers[-1]])
