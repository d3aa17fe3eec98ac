"""What a module of each kind must provide to be trained here. `sharedris/registry.py` lists the modules by name.

`sharedris/module_check.py` checks these contracts on two samples before anything is trained. A module is an `nn.Module`
whose parameters all get a gradient; it needs no base class of this project.

Shapes: B batch, P patches, V = P + 1 visual tokens (class token, patches), T text tokens, S = V + T, D encoder width
(`config.encoder.width`), W width of FPN and decoder (`config.width`), H = W side of the logit map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from sharedris.config import ModelConfig
from sharedris.encoder import Streams


class FusionModule(Protocol):
    """Exchanges information between the modalities; FUSIONS: (width, FusionConfig) -> FusionModule.

    Optional: an attribute `has_mlp = True`, with which a decoder layer adds no MLP; a method `class_token_attentions`
    (`sharedris.attention_row`), without which the module has no attention map.
    """

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return the fused tokens, (B, S, W). `visible_B11S` is False at padding, None without padding."""
        ...


class Fpn(Protocol):
    """Makes one sequence of the encoder's stages; FPNS: (ComparedModelConfig) -> Fpn."""

    def forward(self, outputs: Sequence[Streams], visible_B11S: Tensor | None) -> Tensor:
        """Return the joined tokens, (B, S, W), from the encoder's outputs (entry j is layer j)."""
        ...


class Decoder(Protocol):
    """Refines the tokens for the head; DECODERS: (ComparedModelConfig) -> (Decoder, Head).

    Optional: a method `pop_auxiliary_loss` (`sharedris.loss.AuxiliaryLoss`) for a loss in addition to equation 12.
    """

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return what its head takes: (B, S, W) for `sharedris.decoder.MaskHead`."""
        ...


class Head(Protocol):
    """Makes the mask's logits of what its decoder returns."""

    def forward(self, tokens_BSW: Tensor, visual_tokens: int) -> Tensor:
        """Return logits, (B, H, W)."""
        ...


class NoTarget(Protocol):
    """Decides about sentences that name nothing in the image; NO_TARGETS: (ComparedModelConfig) -> NoTarget.

    Optional: a method `pop_auxiliary_loss`.
    """

    def forward(self, logits_BHW: Tensor, tokens_BSW: Tensor, visible_B11S: Tensor | None) -> Tensor:
        """Return the mask's logits, (B, H, W), from those of the head and the decoder's tokens."""
        ...


class Encoder(Protocol):
    """Reads image and sentence; ENCODERS: EncoderKind(build=(ComparedModelConfig) -> ImageTextEncoder).

    A subclass of `sharedris.encoder.ImageTextEncoder`. Optional: a module `embedding`, counted as a separate
    component of the cost; `class_token_attentions`.
    """

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> list[Streams]:
        """Return `config.encoder.layers` + 1 stages of tokens, each (B, V, D) and (B, T, D); the first is embedded."""
        ...


class System(Protocol):
    """A complete model; SYSTEMS: (ComparedModelConfig) -> System.

    Optional: `pop_auxiliary_loss`; modules `encoder`, `fpn`, `decoder` and `head`, with which costs are divided.
    """

    config: ModelConfig
    """The config that it was built from."""

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> Tensor:
        """Return logits, float (B, H, W)."""
        ...


class LossTerm(Protocol):
    """A term that `train.loss.terms` adds to the loss; LOSSES: the term itself."""

    def __call__(self, logits_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
        """Return a scalar to minimize, from logits and binary masks of one size, both float32."""
        ...
