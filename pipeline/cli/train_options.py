"""The options of `sharedris train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.cli.common_options import Flag
from pipeline.cli.run_file import read_run_file, recorded_run
from pipeline.cli.run_options import (
    First,
    RunOptions,
    read_first,
    starting_run,
)
from pipeline.config import ExecutionConfig
from pipeline.data.catalog import SETS
from pipeline.object_store.address import runs_folder
from pipeline.recipes import PAPERS_SAMPLES
from sharedris.errors import InputError

PAPER_SET = "refcoco_unc"


PAPER_EXECUTION = ExecutionConfig(workers=8, micro_batch_size=PAPERS_SAMPLES)
"""The paper's recipe where it differs from the base scale's defaults: 8 GPUs with 14 samples each, one set at a time.
Fewer GPUs accumulate gradients."""


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """One run."""

    preset: Literal["paper"] | None = None
    """paper: section IV-A (base model, refcoco_unc with all its splits, 35 epochs, 8 workers with 14 samples per
    forward); other options override it."""
    config: Path | None = None
    """A whole run as YAML, JSON or TOML, as --print-config writes it; other options override it."""
    like: str | None = None
    """Id of a recorded run, whose config this one starts from; other options override it."""
    print_config: Flag = False
    """Print the whole run as YAML, for --config, and start nothing."""
    ray: Flag = False
    """Use Ray Train even for one worker (RAY_ADDRESS implies it)."""
    experiment: str | None = None
    """Log to this MLflow experiment (in RUNS/mlflow.db or MLFLOW_TRACKING_URI)."""
    plan: Flag = False
    """Print what the run takes and start nothing."""
    memory: Flag = False
    """With --plan: peak memory of every precision, and what fits which GPU."""
    gflops: float | None = None
    """With --plan: sustained rate of one worker in GFLOP/s, in place of a roofline's."""


def starting_options(words: Sequence[str]) -> Options:
    """Return the options before the command line changes them: of a preset, a file, a record, or the scale.

    Raises:
        InputError: for a file or record that cannot be read, or two that exclude each other.
    """
    first = read_first(words)
    named = [name for name in ("preset", "config", "like") if getattr(first, name) is not None]
    if len(named) > 1:
        raise InputError(f"--{named[0]} and --{named[1]} exclude each other", "Give one of them")
    if first.preset == "paper":
        return _paper(first)
    if not named:
        return Options(run=starting_run(first))
    for name in ("scale", "data"):
        if getattr(first, name) is not None:
            raise InputError(
                f"--{name} does not go with --{named[0]}, which has it", "Change single fields: --data.train-sets NAME"
            )
    if first.config is not None:
        run, where = read_run_file(first.config)
        return Options(run=run, where=where)
    from pipeline.object_store.opened import opened_runs

    root = runs_folder(first.runs or "runs")
    with opened_runs(root):
        return Options(run=recorded_run(root, str(first.like)))


def _paper(first: First) -> Options:
    wanted = replace(first, scale=first.scale or "base", data=first.data or PAPER_SET)
    run = starting_run(wanted)
    sets = run.data.train_sets
    if all(name in SETS for name in sets):
        splits = tuple(f"{name}/{part}" for name in sets for part in SETS[name].splits if part != "train")
        run = replace(run, data=replace(run.data, evaluate_splits=splits))
    return Options(scale=str(wanted.scale), data=str(wanted.data), where=PAPER_EXECUTION, run=run)
