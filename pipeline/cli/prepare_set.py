"""The way from a source to a prepared set with its counts, which the commands that prepare a set share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.cli.machine_output import print_json
from pipeline.cli.prepare_options import PrepareOptions
from pipeline.data.prepared.manifest import Manifest
from pipeline.data.prepared.prepare import Prepared, counts_text, prepare_source
from pipeline.data.prepared.selection import counts_in_words
from pipeline.data.readers.annotations import Source
from pipeline.files import require_writable
from sharedris.tokenizers import open_tokenizer


def prepare(options: PrepareOptions, read: Callable[[], Source], sentences: Iterable[str] = ()) -> int:
    """Prepare the set and print its counts.

    Args:
        options: of the command.
        read: returns the refs; called after the options are checked.
        sentences: more sentences to train the tokenizer on.
    """
    started = time.perf_counter()
    if "://" not in options.out:
        require_writable(Path(options.out), "--out")
    source = read()
    prepared = prepare_source(
        source,
        options.out,
        tokenizer=Path(options.tokenizer) if options.tokenizer else None,
        sentences=list(sentences),
        read_images=not options.no_images,
        embed_images=options.embed_images or source.temporary_images is not None,
        lower_case=options.lower_case,
        on_bad_ref=options.on_bad_ref,
    )
    _report(prepared, time.perf_counter() - started)
    if prepared.written:
        _report_unknown(prepared.manifest, source)
    if options.json:
        manifest = prepared.manifest
        print_json({"set": manifest.set, "fingerprint": manifest.fingerprint, "place": str(manifest.place)})
    return 0


def _report(prepared: Prepared, seconds: float) -> None:
    manifest = prepared.manifest
    print(
        f"{manifest.set}: prepared in {manifest.place} ({seconds:.1f} s)"
        if prepared.written
        else f"{manifest.set}: nothing to do, the same input is already prepared in {manifest.place}"
    )
    print(counts_text(manifest), end="")
    for label, counts in (("left out", manifest.skipped), ("warnings", manifest.warnings)):
        if counts:
            print(f"{label}: {counts_in_words(counts)}")
    trained = ", ".join(manifest.tokenizer_training)
    print(f"fingerprint {manifest.fingerprint}, tokenizer {'trained on ' + trained if trained else 'as given'}")
    if trained and manifest.tokenizer_training != ("train",):
        print("Note: there is no train split, so the tokenizer was trained on the other splits; give --tokenizer")


def _report_unknown(manifest: Manifest, source: Source) -> None:
    found = open_tokenizer(manifest.tokenizer_path, 3).unknown_pieces(
        text for ref in source.refs for text in ref.expressions
    )
    if found.unknown:
        print(f"Note: {found}; --tokenizer or --lower-case may prepare with one that knows them")
