"""`sharedris runs`: which runs are done, running or failed, read only from files."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.files import read_json, runs_folder
from pipeline.lifecycle.heartbeat import has_live_driver
from pipeline.monitoring.progress import read_progress
from pipeline.records import PROTOCOLS, RECORD_SCHEMA, RecordError, list_runs, read_table, record_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--runs", type=runs_folder, default=Path("runs"), help="root of the runs (default: %(default)s)"
    )
    parser.add_argument(
        "--protocol", default="original", choices=PROTOCOLS, help="of the scores (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Print a line per run: first those with a record, with their scores."""
    done = set(list_runs(args.runs))
    states = sorted(path.name for path in (args.runs / "state").glob("*") if path.is_dir())
    if not done and not states:
        print(f"no runs below {args.runs}; make sweep-fpn or sharedris train makes some")
        return 0
    for run_id in sorted(done):
        print(_done_line(args.runs, run_id, args.protocol))
    for run_id in states:
        if run_id not in done:
            print(f"{run_id:<44} {_state_words(args.runs / 'state' / run_id)}")
    return 0


def _done_line(root: Path, run_id: str, protocol: str) -> str:
    try:
        record = read_table(record_path(root, run_id), RECORD_SCHEMA)
    except RecordError as error:
        return f"{run_id:<44} damaged   {error}"
    rows = record[record["protocol"] == protocol]
    scores = "  ".join(
        f"{row['split']} oIoU {100 * row['oiou']:.2f} mIoU {100 * row['miou']:.2f}" for _, row in rows.iterrows()
    )
    return f"{run_id:<44} done      {record.iloc[0]['variant']}  {scores}"


def _state_words(folder: Path) -> str:
    failure = read_json(folder / "failure.json")
    if failure is not None:
        return f"failed    {failure['cause']}"
    progress, driven = read_progress(folder), has_live_driver(folder)
    if progress is None or progress.phase == "done":  # it was done, and its record was removed
        return "running   starting" if driven else "not begun"
    word = "running  " if driven else "interrupted"
    return f"{word} {progress.phase}, epoch {progress.epoch}/{progress.epochs}, {100 * progress.share:.0f} %"
