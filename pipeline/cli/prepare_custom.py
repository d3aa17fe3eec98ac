"""`sharedris data prepare custom`: own data in JSON Lines or CSV, or in a form that a plugin reads."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.prepare_custom_options import Options
from pipeline.cli.prepare_set import prepare
from pipeline.data.readers.registry import read_annotations


def run(options: Options) -> int:
    """Prepare the set."""
    path = Path(options.annotations)
    return prepare(
        options, lambda: read_annotations(path, options.data, reader=options.reader, images=options.image_folder)
    )
