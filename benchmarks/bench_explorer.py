"""How large the explorer of samples is, and how fast: 10,000 expressions of RefCOCO val and 16 runs.

    python benchmarks/bench_explorer.py                    the issue's size: several minutes, most of it making masks
    python benchmarks/bench_explorer.py --expressions 1000 smaller
    python benchmarks/bench_explorer.py --root FOLDER      keep the made-up runs there, and use them again

Prints Markdown and writes benchmarks/results/explorer.md. Targets: at most 12 MB, any sample opens within a second in
headless Chromium, and `sharedris report explore` gets by with 6 GB of address space. What the runs are made of:
benchmarks/explorer_data.py.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from explorer_data import RUNS, read_split, write_runs  # noqa: E402

from sharedris.errors import InputError  # noqa: E402
from tests.browser import chromium  # noqa: E402

OPENED = 50
MOST_ADDRESS_SPACE = 6_000_000_000


def main() -> None:
    """Write made-up runs and images, build the page, and print its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expressions", type=int, default=10_000, help="of the split")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="real annotations")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "explorer.md")
    parser.add_argument("--root", type=Path, help="keep the made-up runs in this folder, and use them again")
    args = parser.parse_args()
    try:
        text = _measured(args)
    except InputError as error:
        sys.exit(f"error: {error}")
    print(text)
    args.out.write_text(text, encoding="utf-8")


def _measured(args: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as name:
        root = args.root or Path(name)
        if not (root / "runs").exists():
            write_runs(root, read_split(args.data, args.expressions))
        seconds, code, peak_mb = _explore(root)
        page = root / "runs" / "report" / "samples.html"
        limit = 12.0 * max(1.0, args.expressions / 10_000)
        return (
            f"### Explorer of {args.expressions:,} expressions and {RUNS} runs\n\n"
            "Sentences, boxes and sizes of images of RefCOCO (unc) val; outlines of real objects and parts of real\n"
            "photographs; masks of made-up runs, which differ at the borders and in one of six samples in the object.\n"
            f"2 CPU cores, load {os.getloadavg()[0]:.1f} when it ended.\n\n| what | measured |\n|---|---|\n"
            f"| exit code | {code} |\n"
            f"| **size** (at most {limit:g} MB) | **{page.stat().st_size / 1e6:.1f} MB** |\n"
            f"| of it, masks | {_part(page, 'block'):.1f} MB |\n"
            f"| of it, thumbnails | {_part(page, 'thumbnails'):.1f} MB |\n"
            f"| of it, sentences and scores | {_part(page, 'index'):.1f} MB |\n"
            f"| the grid of the masks | {_between(page, 'on a grid of ', ' cells')} cells on the longer side |\n"
            f"| time to make it | {seconds:.0f} s |\n"
            f"| peak memory of making it | {peak_mb:.0f} MB |\n{_opening(page)}"
        )


def _explore(root: Path) -> tuple[float, int, float]:
    """Return seconds, exit code and peak memory of the command, in a process whose address space is limited."""
    command = [sys.executable, "-m", "pipeline.cli.main", "report", "explore", "--runs", str(root / "runs")]
    limits = (MOST_ADDRESS_SPACE, MOST_ADDRESS_SPACE)
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--prepared", str(root / "prepared")],
        check=False,
        cwd=HERE.parent,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limits),
    )
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return time.perf_counter() - started, done.returncode, peak_mb


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


def _between(page: Path, start: str, end: str) -> str:
    return page.read_text(encoding="utf-8").partition(start)[2].partition(end)[0]


if __name__ == "__main__":
    main()
