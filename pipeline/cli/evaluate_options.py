"""The options of `sharedris evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli.common_options import CommonOptions, CurveFlag, Device, Flag, RunsFolder
from sharedris.config import Precision


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """What is scored, by which rules, and where the rows go."""

    words: tyro.conf.Positional[tuple[str, ...]]
    """RUN .. SPLIT ..: ids of runs, as `sharedris runs` lists them, or one exported model folder (runs/models/RUN);
    then splits with their set (refcocog_umd/val). The scores of a run are added to its record, and a split that is
    there is not evaluated again; those of a folder are printed and not recorded. All runs of a sweep: sharedris sweep
    evaluate."""
    batch_size: int | None = None
    """Samples a forward (default: that of the run, 1)."""
    prepared: str = "data/prepared"
    """Root of prepared sets, folder or URI."""
    device: Device = "auto"
    """Where the model runs."""
    precision: Precision | None = None
    """Precision on a GPU (default: that of the run)."""
    threshold: tuple[float, ...] = ()
    """Score at these thresholds too; the run and its id keep their own."""
    protocol: tuple[str, ...] = ()
    """Rules to score as well (docs/protocols.md): paper_input thresholds the map, resizes to the model's input and
    scores there; lavt and others make and count masks as that public code does. Rows of CGFormer and DMMI are scored
    by their own rule in any case."""
    loader_workers: int = 0
    """Processes that load data."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""
    workers: int = 1
    """Workers of a RUN, each on one CPU or GPU."""
    ray: Flag = False
    """Use Ray Train even for one worker."""
    experiment: str | None = None
    """Log a RUN to this MLflow experiment too."""
    threshold_curve: CurveFlag = False
    out: Path | None = None
    """Write the per-sample rows to this parquet file."""
    save_masks: Path | None = None
    """Write the masks of protocol original to this .jsonl file (docs/score.md)."""
