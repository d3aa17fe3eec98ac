"""The scores of all runs as a table: python examples/read_records.py [RUNS]."""

import sys
from pathlib import Path

import pandas as pd

from pipeline.records import RECORD_SCHEMA, list_runs, read_table, record_path


def main(runs: str = "runs") -> None:
    """Print a line per run, split and seed, the best first."""
    root = Path(runs)
    rows = pd.concat([read_table(record_path(root, run), RECORD_SCHEMA) for run in list_runs(root)])
    rows = rows[rows["protocol"] == "original"].sort_values("oiou", ascending=False)
    print((rows.set_index(["variant", "split", "seed"])[["oiou", "miou"]] * 100).round(2).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
