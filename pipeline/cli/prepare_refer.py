"""`sharedris data prepare refer`: the REFER layout of RefCOCO, RefCOCO+, RefCOCOg and the synthetic sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.prepare_options import PrepareOptions, prepare
from pipeline.data.readers.annotations import Source
from pipeline.data.readers.corrections import corrected_source
from pipeline.data.readers.refer import read_refer, read_training_sentences
from sharedris.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Options(PrepareOptions):
    """The download, and what is changed in it."""

    root: str = "data/refer"
    """Folder that holds refcoco, refcoco+, ..."""
    tokenizer_sets: str = ""
    """Train the tokenizer on these sets' sentences (SET,SET), to combine them later."""
    corrections: str | None = None
    """Folder with the parquet of refcoco-m, whose masks replace those of the set: prepares SET+refcocom."""


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
