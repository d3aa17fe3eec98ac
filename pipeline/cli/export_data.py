"""`sharedris data export`: write a prepared set in the format of another tool."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from pipeline.cli.common_options import CommonOptions
from pipeline.data.export.coco import write_coco
from pipeline.data.export.hf import write_hf
from pipeline.data.prepared.manifest import load_manifest
from pipeline.files import require_writable
from sharedris.errors import InputError

FORMATS = {"hf": write_hf, "coco": write_coco}


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The set, and the folder that is written."""

    set: tyro.conf.Positional[str]
    """A prepared set."""
    format: Literal["hf", "coco"]
    """Parquet of Hugging Face's `datasets`, or COCO's JSON."""
    out: Path
    """Folder to write; it must not be there yet."""
    prepared: str = "data/prepared"
    """Root of prepared sets, folder or URI."""


def run(options: Options) -> int:
    """Write the folder in one step, and print its files."""
    manifest = load_manifest(options.prepared, options.set)
    out = options.out
    if out.exists():
        raise InputError(f"{out} is there already", "Give --out a folder that is not there yet")
    require_writable(out.absolute().parent, "--out")
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        files = FORMATS[options.format](manifest, partial)
        names = [path.relative_to(partial) for path in files]
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{manifest.set}, fingerprint {manifest.fingerprint}, written to {out}")
    for name in names:
        print(f"  {name}: {(out / name).stat().st_size:,} bytes")
    return 0
