"""Print who measures what, or every evaluator's scores on the masks of a per-sample file.

python -m pipeline.evaluation.public_evaluators
python -m pipeline.evaluation.public_evaluators runs/samples/RUN/SET/SPLIT.parquet original
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.public_evaluators.counts import counts_of
from pipeline.evaluation.public_evaluators.tables import on_the_same_masks, who_measures_what


def main(arguments: list[str]) -> int:
    """Print the table that the arguments ask for."""
    if not arguments:
        print(who_measures_what())
        return 0
    rows = pd.read_parquet(Path(arguments[0]))
    print(on_the_same_masks(counts_of(rows, PROTOCOLS[arguments[1]])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
