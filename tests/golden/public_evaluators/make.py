"""Make a golden file of a public evaluator from its own code. Not run by the tests.

    python tests/golden/public_evaluators/make.py NAME FOLDER [NAME FOLDER ...]

FOLDER is a checkout of the repository that PUBLIC_EVALUATORS names for NAME, at its commit. Their code is imported from
there and nothing of it is kept: a file holds the seed and digest of the masks, the numbers and the printed text. The
code runs on a CPU, in one process, with stand-ins for the packages that evaluation does not use (their_code.py). What
is replaced is the network: it answers with the given masks. Each evaluator needs a fresh process, since stand-ins stay.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
_PROGRESS = re.compile(r"Test: |Done|creating|loading|index created")
"""Lines with durations, which differ from run to run."""


def make(name: str, root: Path) -> None:
    """Run one evaluator on every set of masks that it can score, and write its file."""
    import numpy as np
    import torch
    from masks import SETS, digest, make_masks
    from their_runs import RUNS

    from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS

    evaluator = PUBLIC_EVALUATORS[name]
    torch.set_num_threads(1)
    sets = {}
    for masks, seed in SETS.items():
        samples = make_masks(masks)
        if evaluator.no_target == "needed" and not any(each.no_target for each in samples):
            continue
        shown = io.StringIO()
        with np.errstate(divide="ignore", invalid="ignore"), redirect_stdout(shown):
            scores, printed = RUNS[name](root, samples)
        printed = printed or shown.getvalue()
        sets[masks] = {
            "seed": seed,
            "digest": digest(samples),
            "scores": {key: float(value) for key, value in scores.items()},
            "printed": [line.rstrip() for line in printed.splitlines() if line.strip() and not _PROGRESS.match(line)],
        }
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    text = json.dumps({"source": asdict(evaluator.source), "versions": versions, "sets": sets}, indent=1)
    (HERE / f"{name}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        make(sys.argv[1], Path(sys.argv[2]).resolve())
    else:
        for pair in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
            subprocess.run([sys.executable, __file__, *pair], check=True)
