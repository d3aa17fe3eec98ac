"""`sharedris data prepare refer`: the REFER layout of RefCOCO, RefCOCO+, RefCOCOg and the synthetic sets."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.prepare_refer_options import Options
from pipeline.cli.prepare_set import prepare
from pipeline.data.readers.annotations import Source
from pipeline.data.readers.corrections import corrected_source
from pipeline.data.readers.refer import read_refer, read_training_sentences
from sharedris.errors import InputError


def run(options: Options) -> int:
    """Prepare the set."""
    shared = sorted(set(options.tokenizer_sets.split(",")) - {""})
    if shared and options.tokenizer:
        raise InputError("--tokenizer and --tokenizer-sets exclude each other", "Give one of them")
    sentences = (text for name in shared for text in read_training_sentences(Path(options.root), name))
    return prepare(options, lambda: _source(options), sentences)


def _source(options: Options) -> Source:
    source = read_refer(
        Path(options.root), options.data, images=options.image_folder, need_images=not options.no_images
    )
    return corrected_source(source, Path(options.corrections)) if options.corrections else source
