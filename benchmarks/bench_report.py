"""How long a full report takes: 500 runs, 3 protocols, 4 splits, 5 million per-sample rows (all made up).

    python benchmarks/bench_report.py            the issue's size: a few minutes, most of it writing the made-up runs
    python benchmarks/bench_report.py --seeds 2  smaller

Prints Markdown and writes benchmarks/results/report.md. Targets: tables, statistics and page in at most 60 s and 2 GiB
on 2 cores, the page below 10 MB. Run it under `flock` where others measure on the same machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "reports")]

import synthetic_runs  # noqa: E402

from reports.build import build_tables, write_report  # noqa: E402
from reports.load import load_runs  # noqa: E402
from reports.paper import NUMERALS  # noqa: E402
from reports.run_selection import Wanted  # noqa: E402

SET = "toyplus_unc"
SPLITS = ("val", "testA", "testB", "train")
FPN, DECODER = "self_attention(3,6,9,12)", "self_attention(1)"
VARIANTS = {
    synthetic_runs.FULL: 0.01,
    synthetic_runs.NO_FPN: -0.04,
    synthetic_runs.TWO: -0.02,
    synthetic_runs.THREE: 0.0,
    f"beit3|fpn=cross_attention(3,6,9,12)|decoder={DECODER}": -0.03,
    f"beit3|fpn=bi_direction(3,6,9,12)|decoder={DECODER}": 0.0,
    f"beit3|fpn={FPN}|decoder=none(0)": -0.03,
    f"beit3|fpn={FPN}|decoder=self_attention(2)": 0.01,
    f"beit3|fpn={FPN}|decoder=cross_attention(1)": -0.02,
    "beit3|fpn=none()|decoder=none(0)": -0.06,
}
ROWS_PER_SPLIT = 2500
IMAGES_PER_SPLIT = 800


def main() -> None:
    """Write made-up runs, build the report on all of them, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="seeds of each of the 10 variants")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "report.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        started = time.perf_counter()
        splits = tuple(f"{SET}/{split}" for split in SPLITS)
        synthetic_runs.write_runs(
            root,
            VARIANTS,
            seeds=tuple(range(args.seeds)),
            splits=splits,
            samples=ROWS_PER_SPLIT,
            images=IMAGES_PER_SPLIT,
        )
        synthetic_runs.write_costs(root)
        wrote_seconds = time.perf_counter() - started
        text = measure(root, args.seeds * len(VARIANTS), wrote_seconds)
    print(text)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text, encoding="utf-8")


def measure(root: Path, runs: int, wrote_seconds: float) -> str:
    """Return the Markdown of one measurement."""
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    loaded = load_runs(root)
    seconds["reading the records"] = time.perf_counter() - started
    for split in SPLITS[1:]:
        started = time.perf_counter()
        build_tables(root, list(NUMERALS), Wanted(split=split), statistics=True, runs=loaded)
        seconds[f"tables and statistics, {split}"] = time.perf_counter() - started
    started = time.perf_counter()
    wanted = Wanted(split=SPLITS[0])
    report = build_tables(root, list(NUMERALS), wanted, statistics=True, runs=loaded)
    seconds[f"tables and statistics, {SPLITS[0]}"] = time.perf_counter() - started
    started = time.perf_counter()
    page = write_report(report, root / "report", root / "prepared", wanted)
    seconds["all formats, pictures and the page"] = time.perf_counter() - started
    total = sum(seconds.values())
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    page_mb = page.stat().st_size / 1e6
    rows = runs * len(SPLITS) * ROWS_PER_SPLIT
    lines = [
        f"Report over {runs} runs x 3 protocols x {len(SPLITS)} splits, {rows:,} per-sample rows (made up), "
        f"{len(os.sched_getaffinity(0))} cores.",
        "",
        "| step | seconds |",
        "|---|---:|",
        *(f"| {name} | {value:.1f} |" for name, value in seconds.items()),
        f"| all | {total:.1f} |",
        "",
        "| target | measured / target |",
        "|---|---:|",
        f"| 60 s | {total / 60:.2f} |",
        f"| 2 GiB peak memory | {peak_gib / 2:.2f} |",
        f"| 10 MB page | {page_mb / 10:.2f} |",
        "",
        f"(Writing the made-up runs took {wrote_seconds:.0f} s and is not counted.)",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
