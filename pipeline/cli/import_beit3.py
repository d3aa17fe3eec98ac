"""`sharedris import beit3`: check Microsoft's BEiT-3 weights against the model and write them at another image size."""

from __future__ import annotations

from pipeline.cli.import_beit3_options import Options
from pipeline.cli.weights_file import import_resized
from sharedris.beit3 import load_beit3, to_official
from sharedris.encoder import Encoder


def run(options: Options) -> int:
    """Print what matched and write the resized weights; any missing or unexpected parameter is an error."""
    if import_resized(options, build=lambda config: Encoder(config.encoder), load=load_beit3, official=to_official):
        print(f"wrote {options.out}: BEiT-3 {options.scale} at {options.image_size}x{options.image_size}")
    return 0
