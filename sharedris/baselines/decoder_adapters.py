"""CGFormer's and DMMI's decoders in the place of ours (table V): from the tokens of our FPN to logits.

These decoders make logits themselves, so that `LogitsHead` takes the place of our mask head. The inputs of an auxiliary
loss are kept from a forward pass in training until `pop_auxiliary_loss` is called.

Shapes: B batch, V visual and T text tokens, S = V + T, W width, G side of the patch grid, H = W side of the logit map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sharedris.baselines.cgformer_decoder import CgformerDecoder, Grouping, group_loss
from sharedris.baselines.config import CgformerConfig, ComparedModelConfig, DmmiConfig
from sharedris.baselines.dmmi_decoder import DmmiDecoder, Readings
from sharedris.baselines.pyramid import ResampledPyramid
from sharedris.draws import RandomModule
from sharedris.encoder import visible_text
from sharedris.loss import AuxiliaryLoss


class LogitsHead(nn.Module):
    """Passes logits on."""

    def forward(self, logits_BHW: Tensor, visual_tokens: int) -> Tensor:
        """Return the logits unchanged."""
        return logits_BHW


def split_tokens(
    tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int, grid: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the patches as a map, (B, W, G, G), the text tokens, (B, T, W), and which are visible, (B, 1, 1, T)."""
    map_BWGG = torch.unflatten(tokens_BSW[:, 1:visual_tokens], 1, (grid, grid)).permute(0, 3, 1, 2)
    visible_B11T = visible_text(visible_B11S, visual_tokens)
    return map_BWGG, tokens_BSW[:, visual_tokens:], visible_B11T


class CgformerMask(AuxiliaryLoss):
    """CGFormer's decoder with its loss."""

    def __init__(self, options: CgformerConfig, text_width: int, grid: int) -> None:
        super().__init__()
        self.weights = options.group_loss
        self.decoder = CgformerDecoder(options, text_width, grid)
        self._groups: list[Tensor] | None = None

    def forward(self, maps: list[Tensor], text_BTD: Tensor, visible_B11T: Tensor | None) -> Tensor:
        """Return logits, (B, H, W)."""
        visible_B1T = None if visible_B11T is None else visible_B11T[:, 0]
        grouping: Grouping = self.decoder(maps, text_BTD, visible_B1T)
        self._groups = grouping.maps_BNHW if self.training and any(self.weights) else None
        return grouping.logits_BHW

    def pop_auxiliary_loss(self, mask_BHW: Tensor) -> Tensor | None:
        """Return the Dice losses of the groupings."""
        groups, self._groups = self._groups, None
        return None if groups is None else group_loss(groups, mask_BHW, self.weights)


class DmmiMask(AuxiliaryLoss, RandomModule):
    """DMMI's decoder with its training losses.

    The authors encode the sentence a second time with a noun masked, which removes the word completely. Here features
    of words are set to zero after the encoder (and after the FPN or the interactions), where other positions have read
    the word and the image already: the reconstruction is easier. The pairing's negatives are those of one forward pass
    (`contrastive_loss`). The image-to-text branch does not run in evaluation, as no module reads it; the published
    276 G and 392 G are without it.
    """

    def __init__(self, options: DmmiConfig, text_width: int) -> None:
        super().__init__()
        self.options = options
        self.text_in = nn.Linear(text_width, options.width) if text_width != options.width else nn.Identity()
        self.decoder = DmmiDecoder(options)
        self._kept: tuple[Readings, Tensor, Tensor, Tensor] | None = None

    def forward(self, maps: list[Tensor], text_BTD: Tensor, visible_B11T: Tensor | None) -> Tensor:
        """Return logits, (B, H, W): foreground minus background, whose sigmoid equals the authors' softmax."""
        text_BTC = self.text_in(text_BTD)
        if not self.training:
            readings: Readings = self.decoder(maps, text_BTC, None, visible_B11T)
        else:
            used_BT = used_positions(text_BTC, visible_B11T)
            drawn_BT = self.uniform(used_BT.shape, text_BTC.device) < self.options.masked_words
            hidden_BT1 = (drawn_BT & without_ends(used_BT))[..., None]
            readings = self.decoder(maps, text_BTC, text_BTC.masked_fill(hidden_BT1, 0.0), visible_B11T)
            self._kept = (readings, text_BTC, self.decoder.image_to_text.align(text_BTC), used_BT)
        return readings.logits_B2HW[:, 1] - readings.logits_B2HW[:, 0]

    def pop_auxiliary_loss(self, mask_BHW: Tensor) -> Tensor | None:
        """Return the losses of the reconstructed words and of the pairing of images with sentences."""
        if self._kept is None:
            return None
        (readings, text_BTC, aligned_BTC, used_BT), self._kept = self._kept, None
        assert readings.text_BTC is not None
        assert readings.image_BC is not None
        words = reconstruction_loss(text_BTC.float(), readings.text_BTC.float(), used_BT)
        sentence_BC = mean_of_words(aligned_BTC.float(), used_BT)
        pairs = contrastive_loss(readings.image_BC.float(), sentence_BC, self.options.temperature)
        return self.options.reconstruction_loss * words + self.options.contrastive_loss * pairs


def used_positions(text_BTC: Tensor, visible_B11T: Tensor | None) -> Tensor:
    """Return which positions are not padding, (B, T)."""
    if visible_B11T is None:
        return torch.ones(text_BTC.shape[:2], dtype=torch.bool, device=text_BTC.device)
    return visible_B11T[:, 0, 0]


def without_ends(used_BT: Tensor) -> Tensor:
    """Return where the words are, (B, T): all used positions except the first (class) and the last (end)."""
    # A used position is a word if it is not the first and the next one is used.
    return functional.pad(used_BT[:, 2:], (1, 1))


def reconstruction_loss(text_BTC: Tensor, reconstructed_BTC: Tensor, used_BT: Tensor) -> Tensor:
    """Return 1 minus the mean cosine similarity of reconstructed words and words; the words get no gradient."""
    similarity_BT = functional.cosine_similarity(text_BTC.detach(), reconstructed_BTC, dim=-1)
    return 1 - mean_of_words(similarity_BT[..., None], used_BT).mean()


def mean_of_words(tokens_BTC: Tensor, used_BT: Tensor) -> Tensor:
    """Return the mean over the positions in use, (B, C); the authors' code includes padding."""
    return (tokens_BTC * used_BT[..., None]).sum(dim=1) / used_BT.sum(dim=1, keepdim=True)


def contrastive_loss(image_BC: Tensor, sentence_BC: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of pairing each image with its sentence among those given, and the other way round.

    The candidates are those of one forward pass of one worker, as in the authors' code: the loss depends on how the
    global batch is divided, and it is 0 for a single sample.
    """
    scores_BB = functional.normalize(image_BC, dim=1) @ functional.normalize(sentence_BC, dim=1).T / temperature
    own_B = torch.arange(len(scores_BB), device=scores_BB.device)
    return functional.cross_entropy(scores_BB, own_B) + functional.cross_entropy(scores_BB.T, own_B)


class AdaptedDecoder(AuxiliaryLoss):
    """A decoder of four maps over our FPN's tokens."""

    def __init__(self, pyramid: nn.Module, mask: CgformerMask | DmmiMask, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.pyramid = pyramid
        self.mask = mask

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return logits, (B, H, W)."""
        map_BWGG, text_BTW, visible_B11T = split_tokens(tokens_BSW, visible_B11S, visual_tokens, self.grid)
        logits_BHW: Tensor = self.mask(self.pyramid(map_BWGG), text_BTW, visible_B11T)
        return logits_BHW

    def pop_auxiliary_loss(self, mask_BHW: Tensor) -> Tensor | None:
        """Return the decoder's loss."""
        return self.mask.pop_auxiliary_loss(mask_BHW)


def adapted_cgformer(config: ComparedModelConfig) -> AdaptedDecoder:
    """Return CGFormer's decoder behind our FPN."""
    options, grid = config.decoder.cgformer, config.encoder.grid
    mask = CgformerMask(options, config.width, grid)
    return AdaptedDecoder(ResampledPyramid(config.width, options.pyramid_widths), mask, grid)


def adapted_dmmi(config: ComparedModelConfig) -> AdaptedDecoder:
    """Return DMMI's decoder behind our FPN."""
    options = config.decoder.dmmi
    mask = DmmiMask(options, config.width)
    return AdaptedDecoder(ResampledPyramid(config.width, options.pyramid_widths), mask, config.encoder.grid)
