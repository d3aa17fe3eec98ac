"""`sharedris synthesize`: write a synthetic referring set in REFER layout."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pipeline.data.prepared.manifest import ordered_splits
from pipeline.data.synthetic.writer import SYNTHETIC_SETS, write_synthetic
from pipeline.files import require_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--set", required=True, metavar="SET", help=f"one of: {', '.join(SYNTHETIC_SETS)}")
    parser.add_argument(
        "--out", default="data/refer", metavar="ROOT", help="REFER root to write (default: %(default)s)"
    )
    parser.add_argument(
        "--expressions",
        type=int,
        default=4000,
        metavar="N",
        help="training sentences, 40 to 100000 (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of scenes and sentences (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the set and print what was written."""
    started = time.perf_counter()
    require_writable(Path(args.out), "--out")
    written = write_synthetic(Path(args.out), args.set, expressions=args.expressions, seed=args.seed)
    parts = ", ".join(f"{part} {written.expressions[part]:,}" for part in ordered_splits(written.expressions))
    seconds = time.perf_counter() - started
    print(f"{args.set}: {written.images:,} images, {written.refs:,} refs, expressions: {parts} ({seconds:.1f} s)")
    print(f"Written to {written.folder}. Next: sharedris prepare refer --root {args.out} --set {args.set}")
    return 0
