"""The three scales of the model: `tiny` for a CPU, `base` and `large` of the paper. Does not import torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sharedris.baselines.config import (
    BertConfig,
    CgformerConfig,
    ComparedDecoderConfig,
    ComparedFpnConfig,
    ComparedModelConfig,
    CrisConfig,
    DmmiConfig,
    SwinConfig,
    SystemConfig,
    VitdetConfig,
)
from sharedris.config import EncoderConfig, FusionConfig, HeadConfig


def tiny(**changes: Any) -> ComparedModelConfig:
    """Return the CPU scale: 12 layers, so that the paper's stage numbers mean the same, at 64x64 pixels."""
    fusion = FusionConfig(heads=4, mlp_width=256, bi_width=256)
    return dataclasses.replace(
        ComparedModelConfig(
            scale="tiny",
            width=64,
            encoder=EncoderConfig(
                width=64,
                heads=4,
                mlp_width=256,
                patch_size=8,
                image_size=64,
                vocabulary_size=1024,
                text_positions=64,
            ),
            fpn=ComparedFpnConfig(fusion=fusion, cris=CrisConfig(level_widths=(32, 64, 128))),
            decoder=ComparedDecoderConfig(
                fusion=fusion,
                # Patches of 8 pixels: the finest map has half the input's side already (on Swin a quarter, always).
                cgformer=CgformerConfig(pyramid_widths=(128, 64, 32, 16), token_width=64, upsample_blocks=1),
                dmmi=DmmiConfig(pyramid_widths=(128, 64, 32, 16), width=64, heads=4, mlp_width=256),
            ),
            head=HeadConfig(class_token_hidden=64),
            system=SystemConfig(
                vitdet=VitdetConfig(width=64),
                swin=SwinConfig(width=16, depths=(2, 2, 2, 2), heads=(1, 2, 4, 8), window=4, drop_path=0.1),
                bert=BertConfig(width=64, layers=4, heads=4, mlp_width=256, vocabulary_size=1024, positions=64),
            ),
        ),
        **changes,
    )


def base(**changes: Any) -> ComparedModelConfig:
    """Return the paper's base model."""
    return dataclasses.replace(ComparedModelConfig(), **changes)


def large(**changes: Any) -> ComparedModelConfig:
    """Return the paper's large model."""
    return dataclasses.replace(
        ComparedModelConfig(
            scale="large",
            encoder=EncoderConfig(width=1024, layers=24, heads=16, mlp_width=4096),
            fpn=ComparedFpnConfig(stages=(6, 12, 18, 24)),
            system=SystemConfig(stages=(6, 12, 18, 24)),
        ),
        **changes,
    )


SCALES: dict[str, Callable[..., ComparedModelConfig]] = {"tiny": tiny, "base": base, "large": large}
