"""`sharedris data synthesize`: write a synthetic referring set in REFER layout."""

from __future__ import annotations

import time
from pathlib import Path

from pipeline.cli.machine_output import add_result
from pipeline.cli.synthesize_options import Options
from pipeline.data.prepared.manifest import ordered_splits
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.files import require_writable


def run(options: Options) -> int:
    """Write the set and print what was written."""
    started = time.perf_counter()
    require_writable(Path(options.out), "--out")
    written = write_synthetic(Path(options.out), options.data, expressions=options.expressions, seed=options.seed)
    parts = ", ".join(f"{part} {written.expressions[part]:,}" for part in ordered_splits(written.expressions))
    seconds = time.perf_counter() - started
    print(f"{options.data}: {written.images:,} images, {written.refs:,} refs, expressions: {parts} ({seconds:.1f} s)")
    add_result(folder=written.folder, images=written.images, refs=written.refs, expressions=written.expressions)
    print(f"Written to {written.folder}. Next: sharedris data prepare refer --root {options.out} --data {options.data}")
    return 0
