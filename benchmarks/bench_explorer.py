"""How large the explorer of samples is: 10,000 expressions on 1,500 made-up images of 640 x 480, 16 runs.

    python benchmarks/bench_explorer.py                    the issue's size: several minutes, most of it making masks
    python benchmarks/bench_explorer.py --expressions 1000 smaller

Prints Markdown and writes benchmarks/results/explorer.md. Target: at most 12 MB. Masks are wavy outlines with crumbs,
as networks predict them, and differ from run to run; images are clouds of color with the detail of photographs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "reports")]

import synthetic_runs  # noqa: E402

from pipeline.data.masks import encode_mask  # noqa: E402
from pipeline.records import SAMPLE_SCHEMA, write_table  # noqa: E402
from reports.__main__ import main as reports  # noqa: E402

HEIGHT, WIDTH = 480, 640
RUNS, IMAGES = 16, 1500


def main() -> None:
    """Write made-up runs and images, build the page, and print its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expressions", type=int, default=10_000, help="of the split")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "explorer.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        synthetic_runs.write_runs(
            root / "runs", seeds=tuple(range(RUNS // 4)), samples=args.expressions, images=min(IMAGES, args.expressions)
        )
        _write_masks(root / "runs")
        _write_prepared(root / "prepared" / "toyplus_unc", root / "runs")
        started = time.perf_counter()
        code = reports(["explore", "--runs", str(root / "runs"), "--prepared", str(root / "prepared")])
        seconds = time.perf_counter() - started
        page = root / "runs" / "report" / "samples.html"
        megabytes = page.stat().st_size / 1e6
        limit = 12.0 * args.expressions / 10_000
        text = (
            f"### Explorer of {args.expressions:,} expressions and {RUNS} runs\n\n| what | measured |\n|---|---|\n"
            f"| exit code | {code} |\n| **size** (at most {limit:g} MB) | **{megabytes:.1f} MB** |\n"
            f"| of it, masks | {_part(page, 'block'):.1f} MB |\n"
            f"| of it, thumbnails | {_part(page, 'thumbnails'):.1f} MB |\n"
            f"| time to make it | {seconds:.0f} s |\n"
        )
    print(text)
    args.out.write_text(text, encoding="utf-8")


def _part(page: Path, name: str) -> float:
    lines = page.read_text(encoding="utf-8").split("<script")
    return sum(len(line) for line in lines if f'"{name}"' in line[:60]) / 1e6


def _wavy(rng: np.random.Generator, place: np.ndarray, radius: float, waves: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[0:HEIGHT:4, 0:WIDTH:4]
    angle = np.arctan2(rows - place[0], columns - place[1])
    edge = radius * (1 + sum(size * np.cos(turn * angle + shift) for turn, (size, shift) in enumerate(waves, start=1)))
    mask = np.hypot(rows - place[0], columns - place[1]) < edge
    for _ in range(rng.integers(0, 4)):  # crumbs beside the object
        row, column = rng.integers(0, HEIGHT // 4 - 6), rng.integers(0, WIDTH // 4 - 6)
        mask[row : row + rng.integers(1, 6), column : column + rng.integers(1, 6)] = True
    return mask.repeat(4, axis=0).repeat(4, axis=1)


def _write_masks(runs: Path) -> None:
    for number, path in enumerate(sorted(runs.glob("samples/*/*/val.parquet"))):
        rows = pd.read_parquet(path)
        rows["mask_rle"] = [encode_mask(_mask(int(index), number)) for index in rows["index"]]
        rows["height"], rows["width"] = np.int32(HEIGHT), np.int32(WIDTH)
        write_table(path, rows, SAMPLE_SCHEMA)


def _mask(sample: int, run: int) -> np.ndarray:
    """Return the mask of a run: near the true one of run -1, with errors of its own."""
    shared, own = np.random.default_rng([sample, 0]), np.random.default_rng([sample, run + 2])
    place = shared.uniform((60, 60), (HEIGHT - 60, WIDTH - 60))
    radius, waves = shared.lognormal(4.0, 0.5), shared.uniform((0, 0), (0.25, 6.28), (6, 2))
    if run < 0:
        return _wavy(np.random.default_rng([sample, 1]), place, radius, waves)
    moved = place + own.normal(0, 12, 2) if own.random() < 0.8 else own.uniform((60, 60), (HEIGHT - 60, WIDTH - 60))
    return _wavy(own, moved, radius * own.uniform(0.8, 1.2), waves + own.normal(0, 0.1, (6, 2)))


def _write_prepared(folder: Path, runs: Path) -> None:
    rows = pd.read_parquet(next(runs.glob("samples/*/toyplus_unc/val.parquet"))).drop_duplicates("ref_id")
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(sorted(set(rows["file_name"]))):
        rng = np.random.default_rng(number)
        clouds = [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for side in (4, 16, 64)]
        layers = [np.asarray(cloud.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), float) for cloud in clouds]
        pixels = 0.55 * layers[0] + 0.3 * layers[1] + 0.15 * layers[2]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name, quality=90)
    refs = rows[["ref_id", "file_name", "height", "width"]].assign(
        mask_rle=[encode_mask(_mask(int(ref_id), -1)) for ref_id in rows["index"]]
    )
    refs.to_parquet(folder / "val.parquet")
    manifest = {"image_root": str(folder / "images"), "image_folder": "images", "embedded": False}
    (folder / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")


if __name__ == "__main__":
    main()
