"""`sharedris data prepare hf`: parquet of Hugging Face's datasets, with embedded images or without."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.prepare_hf_options import Options
from pipeline.cli.prepare_set import prepare
from pipeline.data.readers.hf import read_hf


def run(options: Options) -> int:
    """Prepare the set."""
    return prepare(
        options,
        lambda: read_hf(
            Path(options.folder), options.data, images=options.image_folder, need_images=not options.no_images
        ),
    )
