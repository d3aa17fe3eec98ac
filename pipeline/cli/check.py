"""`sharedris check`: check a set before training on it; exit code 1 if a finding would change results."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.data.prepared.manifest import Manifest, load_manifest
from pipeline.data.readers.annotations import Source
from pipeline.data.readers.corrections import corrected_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.readers.registry import read_annotations
from pipeline.data.storage import open_place
from pipeline.data.validation.checks import CheckResult, check_source
from pipeline.data.validation.datasheet import write_datasheet
from pipeline.data.validation.inputs import (
    check_images,
    content_findings,
    image_reader,
    neighbour_findings,
    source_of_prepared,
)
from pipeline.data.validation.report import report_json, report_text
from sharedris.errors import InputError
from sharedris.tokenizer import Tokenizer
from sharedris.tokenizers import open_tokenizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("set", metavar="SET", help="in full: refcoco_unc, refcocog_umd, toyplus_unc, or a custom set")
    parser.add_argument(
        "--prepared", default="data/prepared", metavar="ROOT", help="prepared data (default: %(default)s)"
    )
    parser.add_argument(
        "--root", metavar="ROOT", help="check the REFER layout below this folder instead of prepared data"
    )
    parser.add_argument("--corrections", metavar="FOLDER", help="with --root: parquet of refcoco-m, as for prepare")
    parser.add_argument("--annotations", metavar="FILE", help="check a .jsonl or .csv file instead of prepared data")
    parser.add_argument("--reader", default="lines", help="reader of --annotations (default: %(default)s)")
    parser.add_argument("--images", metavar="FOLDER", help="image folder of --root or --annotations")
    parser.add_argument("--no-images", action="store_true", help="do not read the images")
    parser.add_argument("--tokenizer", metavar="FILE", help="count pieces with this sentencepiece model")
    parser.add_argument(
        "--text-tokens", type=int, default=20, metavar="T", help="sequence length (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", help="write all findings as JSON")
    parser.add_argument("--sheet", metavar="FILE", help="write a data sheet (HTML)")


def run(args: argparse.Namespace) -> int:
    """Check the set, print the findings, write JSON and data sheet if asked."""
    source, manifest, origin = _read(args)
    tokenizer = _tokenizer(args, manifest)
    result = check_source(
        source,
        origin=origin,
        image_problems=None if args.no_images else check_images(source, manifest),
        tokenizer=tokenizer,
        text_tokens=args.text_tokens,
    )
    if manifest is not None:
        result.findings += content_findings(manifest) + neighbour_findings(manifest, args.prepared)
    print(report_text(result), end="")
    _write(args, source, manifest, result)
    return 0 if result.ok else 1


def _read(args: argparse.Namespace) -> tuple[Source, Manifest | None, str]:
    images = Path(args.images) if args.images else None
    if args.annotations:
        source = read_annotations(Path(args.annotations), args.set, reader=args.reader, images=images)
        return source, None, args.annotations
    if args.root:
        source = read_refer(Path(args.root), args.set, images=images, need_images=False)
        return corrected_source(source, Path(args.corrections)) if args.corrections else source, None, args.root
    if args.corrections:
        raise InputError("--corrections is for a set in REFER layout", "Give --root ROOT")
    manifest = load_manifest(args.prepared, args.set)
    return source_of_prepared(manifest), manifest, str(manifest.place)


def _tokenizer(args: argparse.Namespace, manifest: Manifest | None) -> Tokenizer | None:
    if args.tokenizer:
        return open_tokenizer(Path(args.tokenizer), args.text_tokens)
    return open_tokenizer(manifest.tokenizer_path, args.text_tokens) if manifest else None


def _write(args: argparse.Namespace, source: Source, manifest: Manifest | None, result: CheckResult) -> None:
    if args.json:
        open_place(args.json).write_bytes(report_json(result).encode())
        print(f"All findings: {args.json}")
    if args.sheet:
        read = None if args.no_images else image_reader(source, manifest)
        open_place(args.sheet).write_bytes(write_datasheet(source, result, read).encode())
        print(f"Data sheet: {args.sheet}")
