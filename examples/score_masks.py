"""Score masks that any program made: python examples/score_masks.py toyplus_unc val [PREPARED RUNS]."""

import json
import sys
from pathlib import Path

import pandas as pd

from pipeline.cli.main import main as sharedris


def main(name: str, split: str, prepared: str = "data/prepared", runs: str = "runs") -> int:
    """Write the upper half of the picture as the mask of every sentence, then score and record that."""
    lines = []
    for ref in pd.read_parquet(Path(prepared) / name / f"{split}.parquet").itertuples():
        upper = ref.height // 2  # run lengths go down the columns: 0 background, `upper` foreground, the rest, ...
        counts = [0, upper, *[ref.height - upper, upper] * (ref.width - 1), ref.height - upper]
        mask = {"size": [ref.height, ref.width], "counts": counts}
        lines += [json.dumps({"sent_id": int(sentence), "segmentation": mask}) for sentence in ref.sent_ids]
    predictions = Path("upper_half.jsonl")
    predictions.write_text("\n".join(lines) + "\n")
    words = ["--data", name, "--split", split, "--name", "upper-half", "--prepared", prepared, "--runs", runs]
    return sharedris(["score", str(predictions), *words])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
