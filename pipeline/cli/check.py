"""`sharedris data check`: check a set before training on it; exit code 1 if a finding would change results."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.cli.check_options import Options
from pipeline.cli.machine_output import print_json
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


def run(options: Options) -> int:
    """Check the set, print the findings, write JSON and data sheet if asked."""
    source, manifest, origin = _read(options)
    tokenizer = _tokenizer(options, manifest)
    result = check_source(
        source,
        origin=origin,
        image_problems=None if options.no_images else check_images(source, manifest),
        tokenizer=tokenizer,
        text_tokens=options.text_tokens,
    )
    if manifest is not None:
        result.findings += content_findings(manifest) + neighbour_findings(manifest, options.prepared)
    print(report_text(result), end="")
    _write(options, source, manifest, result)
    if options.json:
        print_json(json.loads(report_json(result)))
    return 0 if result.ok else 1


def _read(options: Options) -> tuple[Source, Manifest | None, str]:
    images = Path(options.images) if options.images else None
    if options.annotations:
        source = read_annotations(Path(options.annotations), options.set, reader=options.reader, images=images)
        return source, None, options.annotations
    if options.root:
        source = read_refer(Path(options.root), options.set, images=images, need_images=False)
        return (
            corrected_source(source, Path(options.corrections)) if options.corrections else source,
            None,
            options.root,
        )
    if options.corrections:
        raise InputError("--corrections is for a set in REFER layout", "Give --root ROOT")
    manifest = load_manifest(options.prepared, options.set)
    return source_of_prepared(manifest), manifest, str(manifest.place)


def _tokenizer(options: Options, manifest: Manifest | None) -> Tokenizer | None:
    if options.tokenizer:
        return open_tokenizer(Path(options.tokenizer), options.text_tokens)
    return open_tokenizer(manifest.tokenizer_path, options.text_tokens) if manifest else None


def _write(options: Options, source: Source, manifest: Manifest | None, result: CheckResult) -> None:
    if options.out:
        open_place(options.out).write_bytes(report_json(result).encode())
        print(f"All findings: {options.out}")
    if options.sheet:
        read = None if options.no_images else image_reader(source, manifest)
        open_place(options.sheet).write_bytes(write_datasheet(source, result, read).encode())
        print(f"Data sheet: {options.sheet}")
