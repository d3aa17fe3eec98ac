"""`sharedris import-beit3`: check Microsoft's BEiT-3 weights against the model and write them at another image size."""

from __future__ import annotations

import argparse

from pipeline.cli.weights_file import add_import_arguments, import_resized
from sharedris.beit3 import load_beit3, to_official
from sharedris.encoder import Encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_import_arguments(parser, "beit3_base_patch16_224.pth, or safetensors with the same names")


def run(args: argparse.Namespace) -> int:
    """Print what matched and write the resized weights; any missing or unexpected parameter is an error."""
    if import_resized(args, build=lambda config: Encoder(config.encoder), load=load_beit3, official=to_official):
        print(f"wrote {args.out}: BEiT-3 {args.model} at {args.image_size}x{args.image_size}")
    return 0
