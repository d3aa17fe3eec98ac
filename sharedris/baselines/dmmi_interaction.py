"""DMMI's text-image interaction in the encoder (Hu et al., ICCV 2023, section 3.2): LAVT's PWAM, both ways and wider.

Pixels attend to words with neighborhoods of three sizes, words to pixels with phrases of three lengths; learned weights
average the three. Written from the paper and the behavior of its authors' code; the golden file compares both. At
padding the last word is repeated, as their code does beyond the end of the sequence, so that a sentence's mask does not
depend on its batch.

Shapes: B batch, P pixels of a square map, C their channels, T words, D theirs, k side or length of a neighborhood.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.baselines.pwam import full_precision, normalize_pixels
from sharedris.baselines.pyramid import side_of
from sharedris.layers import initialize_linear


class PixelToWordAttention(nn.Module):
    """Attention of each pixel, with its k x k neighbors, to the words."""

    def __init__(self, width: int, text_width: int, side: int) -> None:
        super().__init__()
        inner = {1: width, 3: width // 2, 5: width // 4}[side]
        self.squeeze = nn.Linear(width, inner)
        self.look = nn.Conv2d(inner, width, side, padding=side // 2)
        self.key = nn.Linear(text_width, width)

    def forward(self, pixels_BPC: Tensor, words_BTD: Tensor, visible_B1T: Tensor | None) -> Tensor:
        """Return attention weights, (B, P, T)."""
        side = side_of(pixels_BPC)
        inner_BPI = normalize_pixels(self.squeeze(pixels_BPC))
        queries_BCHW = self.look(torch.unflatten(inner_BPI.transpose(1, 2), 2, (side, side)))
        query_BPC = functional.instance_norm(queries_BCHW).flatten(2).transpose(1, 2)
        scores_BPT: Tensor = query_BPC @ self.key(words_BTD).transpose(1, 2) * pixels_BPC.shape[-1] ** -0.5
        if visible_B1T is not None:
            scores_BPT = scores_BPT.masked_fill(~visible_B1T, float("-inf"))
        return scores_BPT.softmax(dim=-1)


class WordToPixelAttention(nn.Module):
    """Attention of each word to the pixels, as a phrase of k words: one more before it than after it if k is even."""

    def __init__(self, width: int, text_width: int, length: int) -> None:
        super().__init__()
        inner = width // length
        self.scale = width**-0.5  # of the pixels' width, though the products are as long as the text's
        self.before, self.after = length // 2, (length - 1) // 2
        self.squeeze = nn.Linear(text_width, inner)
        self.look = nn.Conv1d(inner, text_width, length)
        self.key = nn.Linear(width, text_width)

    def forward(self, pixels_BPC: Tensor, words_BTD: Tensor) -> Tensor:
        """Return attention weights, (B, T, P)."""
        inner_BIT = self.squeeze(words_BTD).transpose(1, 2)
        phrases_BIT = functional.pad(inner_BIT, (self.before, self.after), mode="replicate")
        query_BTD = self.look(phrases_BIT).transpose(1, 2)
        key_BPD = normalize_pixels(self.key(pixels_BPC))
        scores_BTP: Tensor = query_BTD @ key_BPD.transpose(1, 2) * self.scale
        return scores_BTP.softmax(dim=-1)


class DmmiInteraction(nn.Module):
    """The module: features that pixels share with words, and words updated by the pixels."""

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.from_words = nn.ModuleList(PixelToWordAttention(width, text_width, side) for side in (1, 3, 5))
        self.from_pixels = nn.ModuleList(WordToPixelAttention(width, text_width, length) for length in (1, 2, 3))
        self.word_weights, self.pixel_weights = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
        self.word_value, self.pixel_value = nn.Linear(text_width, width), nn.Linear(width, text_width)
        self.read_words, self.read_pixels = nn.Linear(width, width), nn.Linear(text_width, text_width)
        self.pixels, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.text_out = nn.Linear(text_width, text_width)
        initialize_linear(self)

    def forward(self, pixels_BPC: Tensor, words_BTD: Tensor, visible_B1T: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the features shared by pixels and words, (B, P, C), and the words, (B, T, D), in float32."""
        with full_precision(pixels_BPC):
            return self._exchange(pixels_BPC.float(), words_BTD.float(), visible_B1T)

    def _exchange(self, pixels_BPC: Tensor, words_BTD: Tensor, visible_B1T: Tensor | None) -> tuple[Tensor, Tensor]:
        words_BTD = repeat_last_word(words_BTD, visible_B1T)
        weights = [attend(pixels_BPC, words_BTD, visible_B1T) for attend in self.from_words]
        read_BPC = weighted(weights, self.word_weights) @ self.word_value(words_BTD)
        read_BPC = normalize_pixels(self.read_words(read_BPC))
        common_BPC = functional.gelu(self.out(functional.gelu(self.pixels(pixels_BPC)) * read_BPC))
        weights = [attend(pixels_BPC, words_BTD) for attend in self.from_pixels]
        seen_BTD = weighted(weights, self.pixel_weights) @ normalize_pixels(self.pixel_value(pixels_BPC))
        return common_BPC, words_BTD + functional.gelu(self.text_out(self.read_pixels(seen_BTD)))


def weighted(weights: list[Tensor], scales_3: Tensor) -> Tensor:
    """Return the mean of attention weights by the softmax of learned weights."""
    return (torch.stack(weights, dim=-1) * scales_3.softmax(dim=0)).sum(dim=-1)


def repeat_last_word(words_BTD: Tensor, visible_B1T: Tensor | None) -> Tensor:
    """Return the words with padding replaced by the last word."""
    if visible_B1T is None:
        return words_BTD
    last_B11 = visible_B1T.sum(dim=-1, keepdim=True).clamp(min=1) - 1
    last_B1D = words_BTD.gather(1, last_B11.expand(-1, -1, words_BTD.shape[-1]))
    return torch.where(visible_B1T.transpose(1, 2), words_BTD, last_B1D)
