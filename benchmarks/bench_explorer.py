"""How large the explorer of samples is, and how fast: 10,000 expressions on 1,500 images of 640 x 480, 16 runs.

    python benchmarks/bench_explorer.py                    the issue's size: several minutes, most of it making masks
    python benchmarks/bench_explorer.py --expressions 1000 smaller
    python benchmarks/bench_explorer.py --root FOLDER      keep the made-up runs there, and use them again

Prints Markdown and writes benchmarks/results/explorer.md. Targets: at most 12 MB, and any sample opens within a second
in headless Chromium. Masks are wavy outlines with crumbs, as networks predict them, and differ from run to run; images
are clouds of color with the detail of photographs.
"""

from __future__ import annotations

import argparse
import json
import os
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

from pipeline.data.masks import encode_segmentation  # noqa: E402
from pipeline.records import SAMPLE_SCHEMA, write_table  # noqa: E402
from reports.__main__ import main as reports  # noqa: E402
from tests.browser import chromium  # noqa: E402

HEIGHT, WIDTH = 480, 640
RUNS, IMAGES, OPENED = 16, 1500, 50
CORNERS = 96


def main() -> None:
    """Write made-up runs and images, build the page, and print its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expressions", type=int, default=10_000, help="of the split")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "explorer.md")
    parser.add_argument("--root", type=Path, help="keep the made-up runs in this folder, and use them again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = args.root or Path(name)
        if not (root / "prepared").exists():
            _make(root, args.expressions)
        started = time.perf_counter()
        code = reports(["explore", "--runs", str(root / "runs"), "--prepared", str(root / "prepared")])
        seconds = time.perf_counter() - started
        page = root / "runs" / "report" / "samples.html"
        megabytes = page.stat().st_size / 1e6
        limit = 12.0 * args.expressions / 10_000
        text = (
            f"### Explorer of {args.expressions:,} expressions and {RUNS} runs\n\n"
            f"2 CPU cores, load {os.getloadavg()[0]:.1f} when it ended.\n\n| what | measured |\n|---|---|\n"
            f"| exit code | {code} |\n| **size** (at most {limit:g} MB) | **{megabytes:.1f} MB** |\n"
            f"| of it, masks | {_part(page, 'block'):.1f} MB |\n"
            f"| of it, thumbnails | {_part(page, 'thumbnails'):.1f} MB |\n"
            f"| time to make it | {seconds:.0f} s |\n{_opening(page)}"
        )
    print(text)
    args.out.write_text(text, encoding="utf-8")


def _make(root: Path, expressions: int) -> None:
    seeds = tuple(range(RUNS // 4))
    synthetic_runs.write_runs(root / "runs", seeds=seeds, samples=expressions, images=min(IMAGES, expressions))
    _write_masks(root / "runs")
    _write_prepared(root / "prepared" / "toyplus_unc", root / "runs")


_OPEN = """
const done = arguments[arguments.length - 1], start = performance.now(), root = document.documentElement;
const before = root.dataset.shown, button = document.querySelector(`#rows button[data-place="${arguments[0]}"]`);
const seen = () => root.dataset.shown === before ? requestAnimationFrame(seen) : done(performance.now() - start);
button.click();
seen();
"""


def _opening(page: Path) -> str:
    """Return lines of a table: until the page is ready, and from the click on a row to the picture of its sample."""
    with chromium(width=1300, height=900) as browser:
        browser.set_page_load_timeout(120)
        browser.set_script_timeout(60)
        started = time.perf_counter()
        browser.get(page.as_uri())
        while not browser.execute_script("return document.documentElement.dataset.ready"):
            time.sleep(0.02)
        ready = time.perf_counter() - started
        more = "const more = document.querySelector('#more'); while (!more.hidden) more.click();"
        browser.execute_script(more + "document.documentElement.dataset.shown ||= '0';")
        rows = browser.execute_script("return document.querySelectorAll('#rows button').length")
        places = np.random.default_rng(0).permutation(rows)[:OPENED]
        opened = sorted(browser.execute_async_script(_OPEN, int(place)) / 1000 for place in places)
    return (
        f"| until the page is ready | {ready:.1f} s |\n"
        f"| **a sample opens** (at most 1 s): slowest of {len(opened)} of {rows:,} rows | **{opened[-1]:.2f} s** |\n"
        f"| median of them | {opened[len(opened) // 2]:.2f} s |\n"
    )


def _part(page: Path, name: str) -> float:
    lines = page.read_text(encoding="utf-8").split("<script")
    return sum(len(line) for line in lines if f'"{name}"' in line[:60]) / 1e6


def _wavy(rng: np.random.Generator, place: np.ndarray, radius: float, waves: np.ndarray) -> bytes:
    """Return the run lengths of an outline of waves, drawn as a polygon, and of crumbs next to the object."""
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    edge = radius * (1 + sum(size * np.cos(turn * angle + shift) for turn, (size, shift) in enumerate(waves, start=1)))
    rows, columns = place[0] + edge * np.sin(angle), place[1] + edge * np.cos(angle)
    polygons = [np.stack([columns, rows], axis=1).ravel().tolist()]
    for _ in range(rng.integers(0, 4)):
        top, left = rng.integers(0, HEIGHT - 24), rng.integers(0, WIDTH - 24)
        low, right = top + rng.integers(4, 24), left + rng.integers(4, 24)
        polygons.append([float(each) for each in (left, top, right, top, right, low, left, low)])
    return encode_segmentation(polygons, height=HEIGHT, width=WIDTH)


def _write_masks(runs: Path) -> None:
    for number, path in enumerate(sorted(runs.glob("samples/*/*/val.parquet"))):
        rows = pd.read_parquet(path)
        rows["mask_rle"] = [_mask(int(index), number) for index in rows["index"]]
        rows["height"], rows["width"] = np.int32(HEIGHT), np.int32(WIDTH)
        write_table(path, rows, SAMPLE_SCHEMA)


def _mask(sample: int, run: int) -> bytes:
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
        mask_rle=[_mask(int(index), -1) for index in rows["index"]]
    )
    refs.to_parquet(folder / "val.parquet")
    manifest = {"image_root": str(folder / "images"), "image_folder": "images", "embedded": False}
    (folder / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")


if __name__ == "__main__":
    main()
