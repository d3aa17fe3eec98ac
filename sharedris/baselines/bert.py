"""BERT (Devlin et al., NAACL 2019) without its pooler, the text encoder of CGFormer and DMMI (table VI).

Shapes: B batch, T text tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.baselines.config import BertConfig
from sharedris.draws import Dropout
from sharedris.layers import MultiHeadAttention, initialize_linear


class BertLayer(nn.Module):
    """Self-attention and MLP, each with a residual and then a norm."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, eps = config.width, config.layer_norm_eps
        self.attention = MultiHeadAttention(width, config.heads)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.fc1, self.fc2 = nn.Linear(width, config.mlp_width), nn.Linear(config.mlp_width, width)
        self.dropout = Dropout(config.dropout)
        initialize_linear(self)

    def forward(self, tokens_BTD: Tensor, visible_B11T: Tensor | None) -> Tensor:
        """Return (B, T, D)."""
        attended_BTD = self.dropout(self.attention(tokens_BTD, visible_B11T))
        tokens_BTD = self.attention_norm(tokens_BTD + attended_BTD)
        output_BTD: Tensor = self.mlp_norm(tokens_BTD + self.dropout(self.fc2(functional.gelu(self.fc1(tokens_BTD)))))
        return output_BTD


class Bert(nn.Module):
    """The transformer over the words."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocabulary_size, config.width)
        self.positions = nn.Parameter(torch.empty(config.positions, config.width))
        self.sentences = nn.Parameter(torch.empty(2, config.width))  # of a pair; here all words belong to the first
        for table in (self.words.weight, self.positions, self.sentences):
            nn.init.normal_(table, std=0.02)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(BertLayer(config) for _ in range(config.layers))

    def forward(self, token_ids_BT: Tensor, padding_BT: Tensor | None) -> Tensor:
        """Return the last layer's features, (B, T, D); those at padding are undefined."""
        tokens_BTD: Tensor = self.words(token_ids_BT) + self.positions[: token_ids_BT.shape[1]] + self.sentences[0]
        tokens_BTD = self.dropout(self.norm(tokens_BTD))
        visible_B11T = None if padding_BT is None else ~padding_BT[:, None, None, :]
        for layer in self.layers:
            tokens_BTD = layer(tokens_BTD, visible_B11T)
        return tokens_BTD
