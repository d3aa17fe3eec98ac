"""`sharedris export-data`: write a prepared set in the format of another tool."""

from __future__ import annotations

import argparse
import shutil
import uuid
from pathlib import Path

from pipeline.data.export.coco import write_coco
from pipeline.data.export.hf import write_hf
from pipeline.data.prepared.manifest import load_manifest
from pipeline.files import require_writable
from sharedris.errors import InputError

FORMATS = {"hf": write_hf, "coco": write_coco}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("set", metavar="SET", help="a prepared set")
    parser.add_argument("--format", required=True, choices=list(FORMATS), help="parquet of `datasets`, or COCO's JSON")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; it must not be there yet")
    parser.add_argument(
        "--prepared", default="data/prepared", metavar="ROOT", help="prepared data (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the folder in one step, and print its files."""
    manifest = load_manifest(args.prepared, args.set)
    out = Path(args.out)
    if out.exists():
        raise InputError(f"{out} is there already", "Give --out a folder that is not there yet")
    require_writable(out.absolute().parent, "--out")
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        files = FORMATS[args.format](manifest, partial)
        names = [path.relative_to(partial) for path in files]
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{manifest.set}, fingerprint {manifest.fingerprint}, written to {out}")
    for name in names:
        print(f"  {name}: {(out / name).stat().st_size:,} bytes")
    return 0
