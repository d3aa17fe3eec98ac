"""Time the data stage against the plain way; prints Markdown.

    python benchmarks/bench_data.py                 full size, about 6 minutes on 2 cores, most of it writing the input
    python benchmarks/bench_data.py --share 0.05    a twentieth of it
    python benchmarks/bench_data.py --full-root DIR keep the generated annotations there and use them again

Photographs come from ../shared/data/mini-refcoco, or --photos; without them the loader is not timed. Every measurement
runs in a process of its own with one thread for torch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from full_scale import write_full_scale

HERE = Path(__file__).resolve().parent
PHOTOS = HERE.parent.parent / "shared" / "data" / "mini-refcoco"


def measure(case: str, *words: str) -> dict[str, Any]:
    """Run one case of `data_cases.py` in its own process and return what it measured."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "data_cases.py"), case, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def print_table(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a Markdown table."""
    print(f"\n**{title}**\n")
    for row in (header, tuple("---" for _ in header), *rows):
        print(f"| {' | '.join(row)} |")


def bench_prepare(root: Path, prepared: Path) -> None:
    """Annotations of full size: ours against json.load, an index of dictionaries and all masks."""
    ours = measure("prepare", str(root), str(prepared))
    plain = measure("plain_prepare", str(root))
    size_mb = (root / "refcoco/instances.json").stat().st_size / 1e6
    title = (
        f"Preparing {ours['refs']:,} refs, {ours['expressions']:,} expressions from a {size_mb:.0f} MB instances.json"
    )
    rows = [
        (
            "ours (reads, checks, writes parquet, trains the tokenizer)",
            f"{ours['seconds']:.1f}",
            f"{ours['peak_mib']:.0f}",
        ),
        (
            "plain (json.load, index of dicts, all masks; writes nothing)",
            f"{plain['seconds']:.1f}",
            f"{plain['peak_mib']:.0f}",
        ),
        ("plain / ours", f"{plain['seconds'] / ours['seconds']:.2f}x", f"{plain['peak_mib'] / ours['peak_mib']:.2f}x"),
    ]
    print_table(title, ("way", "seconds", "peak MiB"), rows)
    again = measure("prepare", str(root), str(prepared))
    print(f"\nPreparing the same input again changes nothing: {again['seconds']:.1f} s (written: {again['written']}).")


def bench_start(prepared: Path) -> None:
    """Opening all splits of the full set, and what a forked worker adds."""
    ours, plain = measure("start", str(prepared)), measure("plain_start", str(prepared))
    rows = [
        (name, f"{got['seconds']:.2f}", f"{got['grown_mib']:.0f}", f"{got['worker_mib']:.0f}")
        for name, got in (("ours (arrow columns)", ours), ("plain (a dictionary per sample)", plain))
    ]
    header = ("way", "seconds to open", "MiB in the process", "MiB of its own that a worker dirties in one pass")
    print_table(f"Opening {ours['expressions']:,} expressions", header, rows)


def bench_loader(photos: Path, prepared: Path) -> None:
    """Samples at 480x480 from real JPEGs on one core."""
    got = measure("load", str(photos), str(prepared))
    rows = [
        ("ours", f"{got['ours']:.2f}", f"{1000 / got['ours']:.0f}"),
        ("plain Pillow", f"{got['plain']:.2f}", f"{1000 / got['plain']:.0f}"),
        ("plain / ours", f"{got['plain'] / got['ours']:.2f}x", ""),
    ]
    title = f"A training sample at 480x480 from {got['images']} real JPEGs, one core, nothing cached"
    print_table(title, ("way", "CPU ms per sample (best of rounds)", "samples/s"), rows)
    print(
        f"\nLargest difference of a pixel from Pillow's bicubic, width first as Pillow up to 12 does it: "
        f"{got['largest_difference']} of 255 (from one call of the installed Pillow: {got['one_call_difference']}; "
        f"Pillow 13 takes the height first in tall images). Mask pixels that differ: {got['mask_difference']}."
    )
    if got["mask_difference"]:
        raise SystemExit(f"masks differ in {got['mask_difference']} pixels")


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--full-root", type=Path)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sharedris-bench-") as folder:
        root = args.full_root or Path(folder) / "full"
        if not (root / "refcoco/refs(unc).p").is_file():
            write_full_scale(root, share=args.share)
        bench_prepare(root, Path(folder) / "prepared")
        bench_start(Path(folder) / "prepared")
        if args.photos.is_dir():
            bench_loader(args.photos, Path(folder) / "photos")
        else:
            print(f"\nThe loader was not timed: no photographs in {args.photos.name}.")


if __name__ == "__main__":
    main()
