"""`sharedris import-vit`: check a ViT's weights against the second encoder and write them at another image size."""

from __future__ import annotations

import argparse

from pipeline.cli.weights_file import add_import_arguments, import_resized
from sharedris.vilt_encoder import ViltEncoder
from sharedris.vit_weights import load_vit, to_timm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_import_arguments(parser, "ViT of timm, such as vit_base_patch16_224: safetensors or .pth")


def run(args: argparse.Namespace) -> int:
    """Print what matched and write the resized weights; any missing or unexpected parameter is an error."""
    if import_resized(args, build=ViltEncoder, load=load_vit, official=to_timm):
        print(f"wrote {args.out}: ViT {args.model} at {args.image_size}x{args.image_size}, for --weights vilt=FILE")
    return 0
