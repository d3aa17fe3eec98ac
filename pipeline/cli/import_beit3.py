"""`sharedris import-beit3`: check Microsoft's BEiT-3 weights against the model and write them at another image size."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from pipeline.cli.weights_file import print_report, write_weights
from pipeline.files import require_writable
from sharedris.beit3 import load_beit3, to_official
from sharedris.encoder import Encoder
from sharedris.errors import InputError
from sharedris.scales import SCALES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="beit3_base_patch16_224.pth, or safetensors with the same names")
    parser.add_argument("--model", choices=("base", "large"), default="base", help="default: %(default)s")
    parser.add_argument("--image-size", type=int, default=480, help="pixels (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="safetensors file to write (default: only check)")


def run(args: argparse.Namespace) -> int:
    """Print what matched and write the resized weights; any missing or unexpected parameter is an error."""
    if args.out:
        require_writable(args.out.parent, "--out")
    config = SCALES[args.model]().encoder
    try:
        config = dataclasses.replace(config, image_size=args.image_size)
    except ValueError as error:
        raise InputError(f"--image-size {args.image_size}: {error}", "Give a multiple of 16, such as 480") from None
    with torch.device("meta"):
        encoder = Encoder(config)
    encoder.to_empty(device="cpu")
    print_report(load_beit3(encoder, args.checkpoint))
    if args.out:
        write_weights(to_official(encoder), args.out)
        print(f"wrote {args.out}: BEiT-3 {args.model} at {args.image_size}x{args.image_size}")
    return 0
