"""`sharedris import vit`: check a ViT's weights against the second encoder and write them at another image size."""

from __future__ import annotations

from pipeline.cli.import_vit_options import Options
from pipeline.cli.weights_file import import_resized
from sharedris.vilt_encoder import ViltEncoder
from sharedris.vit_weights import load_vit, to_timm


def run(options: Options) -> int:
    """Print what matched and write the resized weights; any missing or unexpected parameter is an error."""
    if import_resized(options, build=ViltEncoder, load=load_vit, official=to_timm):
        size = f"{options.image_size}x{options.image_size}"
        print(f"wrote {options.out}: ViT {options.scale} at {size}, for --weights vilt FILE")
    return 0
