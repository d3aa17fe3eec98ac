"""`sharedris import-vit`: check a ViT's weights against the second encoder and write them at another image size."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from pipeline.cli.weights_file import print_report, write_weights
from pipeline.files import require_writable
from sharedris.errors import InputError
from sharedris.scales import SCALES
from sharedris.vilt_encoder import ViltEncoder
from sharedris.vit_weights import load_vit, to_timm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="ViT of timm, such as vit_base_patch16_224: safetensors or .pth")
    parser.add_argument("--model", choices=("base", "large"), default="base", help="default: %(default)s")
    parser.add_argument("--image-size", type=int, default=480, help="pixels (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="safetensors file to write (default: only check)")


def run(args: argparse.Namespace) -> int:
    """Print what matched and write the resized weights; any missing or unexpected parameter is an error."""
    if args.out:
        require_writable(args.out.parent, "--out")
    config = SCALES[args.model]()
    try:
        config = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, image_size=args.image_size))
    except ValueError as error:
        raise InputError(f"--image-size {args.image_size}: {error}", "Give a multiple of 16, such as 480") from None
    with torch.device("meta"):
        encoder = ViltEncoder(config)
    encoder.to_empty(device="cpu")
    print_report(load_vit(encoder, args.checkpoint))
    if args.out:
        write_weights(to_timm(encoder), args.out)
        print(f"wrote {args.out}: ViT {args.model} at {args.image_size}x{args.image_size}, for --weights vilt=FILE")
    return 0
