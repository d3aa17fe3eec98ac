"""`sharedris prepare`: turn annotations into the prepared format that training and evaluation read."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pipeline.data.prepared.manifest import Manifest
from pipeline.data.prepared.prepare import Prepared, counts_text, prepare_source
from pipeline.data.prepared.selection import counts_in_words
from pipeline.data.readers.annotations import Source
from pipeline.data.readers.corrections import corrected_source
from pipeline.data.readers.hf import read_hf
from pipeline.data.readers.refer import read_refer, read_training_sentences
from pipeline.data.readers.registry import read_annotations
from pipeline.files import require_writable
from sharedris.errors import InputError
from sharedris.tokenizers import open_tokenizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    layouts = parser.add_subparsers(dest="layout", required=True, metavar="LAYOUT")
    refer = layouts.add_parser("refer", help="the REFER layout of RefCOCO, RefCOCO+, RefCOCOg and the synthetic sets")
    refer.add_argument(
        "--root", default="data/refer", help="folder that holds refcoco, refcoco+, ... (default: %(default)s)"
    )
    refer.add_argument(
        "--set", required=True, metavar="SET", help="in full: refcoco_unc, refcocog_umd, toyplus_unc, ..."
    )
    refer.add_argument(
        "--tokenizer-sets",
        metavar="SET,SET",
        help="train the tokenizer on these sets' sentences, to combine them later",
    )
    refer.add_argument(
        "--corrections",
        metavar="FOLDER",
        help="parquet of refcoco-m, whose masks replace those of the set: prepares SET+refcocom",
    )
    _add_common(refer, images="the usual ones below ROOT")
    custom = layouts.add_parser("custom", help="custom data: JSON Lines or CSV (docs/data.md)")
    custom.add_argument("--annotations", required=True, metavar="FILE", help=".jsonl or .csv, a ref per line")
    custom.add_argument("--reader", default="lines", help="reader of FILE; a plugin adds more (default: %(default)s)")
    custom.add_argument("--set", required=True, metavar="SET", help="a name of your choice")
    _add_common(custom, images="that of the annotation file")
    parquet = layouts.add_parser("hf", help="parquet of Hugging Face's datasets, with embedded images or without")
    parquet.add_argument("folder", metavar="FOLDER", help="a folder with parquet files, or one of them")
    parquet.add_argument("--set", required=True, metavar="SET", help="a known set in full, or a name of your choice")
    _add_common(parquet, images="FOLDER, for rows without embedded images")


def _add_common(parser: argparse.ArgumentParser, *, images: str) -> None:
    parser.add_argument("--out", default="data/prepared", help="folder or URI to write (default: %(default)s)")
    parser.add_argument("--images", metavar="FOLDER", help=f"image folder (default: {images})")
    parser.add_argument("--no-images", action="store_true", help="do not read the images")
    parser.add_argument("--embed-images", action="store_true", help="store the image files in the prepared set")
    parser.add_argument("--tokenizer", metavar="FILE", help="sentencepiece model (default: train one)")
    parser.add_argument("--lower-case", action="store_true", help="train a tokenizer that reads lower case only")
    parser.add_argument(
        "--on-bad-ref",
        choices=["error", "skip"],
        default="error",
        help="refuse a set with errors, or leave their refs out and count them (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare the set and print its counts."""
    started = time.perf_counter()
    if "://" not in args.out:
        require_writable(Path(args.out), "--out")
    images = Path(args.images) if args.images else None
    if args.layout == "custom":
        source = read_annotations(Path(args.annotations), args.set, reader=args.reader, images=images)
    elif args.layout == "hf":
        source = read_hf(Path(args.folder), args.set, images=images, need_images=not args.no_images)
    else:
        source = read_refer(Path(args.root), args.set, images=images, need_images=not args.no_images)
        if args.corrections:
            source = corrected_source(source, Path(args.corrections))
    shared = sorted(set((getattr(args, "tokenizer_sets", None) or "").split(",")) - {""})
    if shared and args.tokenizer:
        raise InputError("--tokenizer and --tokenizer-sets exclude each other", "Give one of them")
    prepared = prepare_source(
        source,
        args.out,
        tokenizer=Path(args.tokenizer) if args.tokenizer else None,
        sentences=[text for name in shared for text in read_training_sentences(Path(args.root), name)],
        read_images=not args.no_images,
        embed_images=args.embed_images or source.temporary_images is not None,
        lower_case=args.lower_case,
        on_bad_ref=args.on_bad_ref,
    )
    _report(prepared, time.perf_counter() - started)
    if prepared.written:
        _report_unknown(prepared.manifest, source)
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
