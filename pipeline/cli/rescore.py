"""`sharedris runs rescore`: add the scores of metrics and protocols that are newer than a run's record."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.machine_output import add_result
from pipeline.cli.rescore_options import Options
from pipeline.files import require_writable
from pipeline.lifecycle.locks import driver_lock
from pipeline.monitoring.mlflow_uri import DATABASE
from pipeline.object_store.opened import SCORES
from pipeline.records import list_runs, record_path
from sharedris.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
READS = SCORES
"""Of runs in an object store."""


def run(options: Options) -> int:
    """Rescore each run and print what was added to it; a run that cannot be rescored keeps no other from it."""
    from pipeline.evaluation.check import check_scoring
    from pipeline.provenance import collect

    if not options.names:
        raise InputError("no run is named", "sharedris runs lists them; all takes all of them")
    known = list_runs(options.runs, archived=True)
    names = known if options.names == ("all",) else list(dict.fromkeys(options.names))
    for name in names:
        if not record_path(options.runs, name).exists():
            there = f"There are: {', '.join(known[:5])}" if known else "sharedris runs lists them"
            raise InputError(f"no record of {name!r} below {options.runs}", there)
    require_writable(options.runs, "--runs")
    check_scoring()
    commit = str(collect()["git_commit"])
    failed = []
    added: dict[str, list[str]] = {}
    for name in names:
        try:
            added[name] = _rescore_one(options, name, commit)
        except InputError as error:
            if len(names) == 1:
                raise
            failed.append(name)
            log.error("%s: %s", name, error)
    add_result(added=added)
    if failed:
        raise InputError(
            f"{len(failed)} of {len(names)} runs could not be rescored, for the reasons above",
            f"Mend them and run the same command again, or only these: {', '.join(failed[:5])}",
        )
    return 0


def _rescore_one(options: Options, name: str, commit: str) -> list[str]:
    """Return the protocols and metrics that were added."""
    from pipeline.rescore import rescore_run

    with driver_lock(options.runs / "state" / name):  # `sharedris evaluate` writes the same record
        added = rescore_run(
            options.runs, name, evaluate=lambda run_id, split: _evaluate(options, run_id, split), git_commit=commit
        )
    words = [*(f"protocol {each}" for each in added.protocols), *(f"metric {each}" for each in added.metrics)]
    print(f"{name}: {'added ' + ', '.join(words) if words else 'nothing is missing'}")
    _log_to_mlflow(options.runs, name)
    return words


def _log_to_mlflow(runs_root: Path, run_id: str) -> None:
    """Log the scores that MLflow lacks, where it has the run; a store that is away is a warning."""
    if os.environ.get("MLFLOW_TRACKING_URI") is None and not (runs_root / DATABASE).exists():
        return
    from pipeline.monitoring.mlflow_rescored import log_rescored
    from pipeline.monitoring.mlflow_store import try_logging

    try_logging(lambda: log_rescored(runs_root, run_id))


def _evaluate(options: Options, run_id: str, split: str) -> pd.DataFrame:
    """Return the per-sample rows of a run's exported model on a split, in the precision of the run."""
    from typing import cast

    import torch

    from pipeline.config import EvaluationConfig
    from pipeline.data.dataset.refer_dataset import ReferDataset
    from pipeline.distributed.process_group import Worker
    from pipeline.evaluation.evaluate import evaluate_split
    from pipeline.monitoring.progress_bar import sample_bar
    from pipeline.precision import numerics
    from sharedris.checkpoint import load_model
    from sharedris.config import Precision

    folder = options.runs / "models" / run_id
    if not folder.is_dir():
        raise InputError(
            f"{run_id}: a new protocol or metric of masks needs its model, and {folder} is not there",
            "Train the run again",
        )
    log.info("%s: evaluating its model on %s", run_id, split)
    cuda = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    worker = Worker(device=torch.device("cuda", 0) if cuda else torch.device("cpu"))
    loaded = load_model(folder, worker.device)
    encoder = loaded.config.encoder
    dataset = ReferDataset(
        options.prepared,
        split,
        image_size=encoder.image_size,
        text_tokens=encoder.text_tokens,
        tokenizer_path=loaded.tokenizer_path,
    )
    with sample_bar(f"{run_id} {split}") as on_progress, numerics("float32", deterministic=False):
        return evaluate_split(
            loaded.model,
            dataset,
            evaluation=EvaluationConfig(threshold=loaded.threshold),
            precision=cast(Precision, loaded.precision),
            worker=worker,
            loader_workers=options.loader_workers,
            on_progress=on_progress,
        )
