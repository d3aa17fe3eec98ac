"""`sharedris data export`: write a prepared set in the format of another tool."""

from __future__ import annotations

import shutil
import uuid

from pipeline.cli.export_data_options import Options
from pipeline.cli.machine_output import add_result
from pipeline.data.export.coco import write_coco
from pipeline.data.export.hf import write_hf
from pipeline.data.prepared.manifest import load_manifest
from pipeline.files import require_writable
from sharedris.errors import InputError

FORMATS = {"hf": write_hf, "coco": write_coco}


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
    add_result(folder=out, files=[str(name) for name in names], fingerprint=manifest.fingerprint)
    print(f"{manifest.set}, fingerprint {manifest.fingerprint}, written to {out}")
    for name in names:
        print(f"  {name}: {(out / name).stat().st_size:,} bytes")
    return 0
