"""Per-sample rows of several runs on one split, brought together so that they can be compared sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.records import RecordError
from reports.load import Runs
from reports.stats import Scores, cluster_sums, ratio_scores


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The same N samples as R runs scored them, under one protocol.

    Attributes:
        run_ids: the runs, in the order of the columns.
        image_N: image of each sample.
        intersection_NR, union_NR: pixels. iou_NR: shares.
        problems: one line for each run that had to be left out.
    """

    run_ids: tuple[str, ...]
    image_N: np.ndarray
    intersection_NR: np.ndarray
    union_NR: np.ndarray
    iou_NR: np.ndarray
    problems: tuple[str, ...] = ()

    def scores(self, metric: str, *, draws: int, seed: int = 0) -> Scores:
        """Return observed and resampled scores of all runs; metric is "oiou" or "miou"."""
        if metric == "oiou":
            above, below = self.intersection_NR, self.union_NR
        else:
            above, below = self.iou_NR, np.ones((len(self.image_N), 1))
        return ratio_scores(
            cluster_sums(self.image_N, above), cluster_sums(self.image_N, below), draws=draws, seed=seed
        )


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Observed and resampled scores of the runs of one group (split, protocol, scale, recipe), by metric."""

    run_ids: tuple[str, ...]
    scores: dict[str, Scores]
    problems: tuple[str, ...]


def resample_runs(runs: Runs, run_ids: list[str], split: str, protocol: str, *, draws: int) -> Resampled:
    """Read and resample the runs of a group once, for every table that shows some of them."""
    paired = pair_runs(runs, run_ids, split, protocol)
    scores = {metric: paired.scores(metric, draws=draws) for metric in ("oiou", "miou")} if paired.run_ids else {}
    return Resampled(run_ids=paired.run_ids, scores=scores, problems=paired.problems)


def pair_runs(runs: Runs, run_ids: list[str], split: str, protocol: str) -> Paired:
    """Read the samples of runs on a split; a run whose samples are missing or are other samples is left out and told.

    Args:
        runs: where the samples lie.
        run_ids: the first one that can be read decides which samples are compared.
        split: in full.
        protocol: whose intersections, unions and IoUs are read.
    """
    names = [f"intersection_{protocol}", f"union_{protocol}", f"iou_{protocol}"]
    kept: list[str] = []
    problems: list[str] = []
    columns: list[list[np.ndarray]] = []
    identity: np.ndarray | None = None
    for run_id in run_ids:
        try:
            rows = runs.samples(run_id, split, ["image_id", "sent_id", *names])
        except RecordError as error:
            problems.append(f"statistics without {run_id}: {error}")
            continue
        samples = rows[["index", "image_id", "sent_id"]].to_numpy()
        if identity is not None and not np.array_equal(samples, identity):
            problems.append(f"statistics without {run_id}: it was evaluated on other samples of {split} than {kept[0]}")
            continue
        identity = samples
        kept.append(run_id)
        columns.append([rows[name].to_numpy(dtype=np.float64) for name in names])
    blank = np.zeros((0, 0))
    stacked = [np.stack(each, axis=1) for each in zip(*columns, strict=True)] if columns else [blank] * 3
    return Paired(
        run_ids=tuple(kept),
        image_N=identity[:, 1] if identity is not None else np.zeros(0, dtype=np.int64),
        intersection_NR=stacked[0],
        union_NR=stacked[1],
        iou_NR=stacked[2],
        problems=tuple(problems),
    )
