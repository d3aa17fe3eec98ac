"""Per-sample rows of several runs on one split, brought together so that they can be compared sample by sample."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from pipeline.evaluation.metrics import BASE_METRICS, Metric, columns_in_file, metrics_of, sums_of
from pipeline.evaluation.power import influence
from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.records import RecordError
from reports.load import Runs
from reports.stats import Scores, cluster_sums, ratio_scores


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The same N samples as R runs scored them, under one protocol.

    Attributes:
        run_ids: the runs, in the order of the columns.
        image_N: image of each sample.
        sums: metric -> what each sample adds above [N, R] and below [N, R] the fraction bar; below [N, 1] for a mean.
        nothing: metric -> its score where nothing is below the bar.
        problems: one line for each run that had to be left out.
    """

    run_ids: tuple[str, ...]
    image_N: np.ndarray
    sums: dict[str, tuple[np.ndarray, np.ndarray]]
    nothing: dict[str, float]
    problems: tuple[str, ...] = ()

    def scores(self, metric: str, *, draws: int, seed: int = 0) -> Scores:
        """Return observed and resampled scores of all runs under a metric."""
        above, below = self.sums[metric]
        return ratio_scores(
            cluster_sums(self.image_N, above),
            cluster_sums(self.image_N, below),
            draws=draws,
            seed=seed,
            nothing=self.nothing[metric],
        )


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Observed and resampled scores of the runs of one group (split, protocol, scale, recipe), by metric."""

    run_ids: tuple[str, ...]
    scores: dict[str, Scores]
    problems: tuple[str, ...]
    moved: dict[str, np.ndarray] = field(default_factory=dict)  # metric -> [C, R] of `pipeline.evaluation.power`
    sentence: dict[str, np.ndarray] = field(default_factory=dict)  # metric -> [R], variance over sentences


def resample_runs(runs: Runs, run_ids: list[str], split: str, protocol: str, *, draws: int) -> Resampled:
    """Read and resample the runs of a group once, for every table that shows some of them."""
    paired = pair_runs(runs, run_ids, split, protocol)
    scores = {metric: paired.scores(metric, draws=draws) for metric in paired.sums}
    parts = {metric: influence(paired.image_N, *sums) for metric, sums in paired.sums.items()}
    return Resampled(
        run_ids=paired.run_ids,
        scores=scores,
        problems=paired.problems,
        moved={metric: moved_CR for metric, (moved_CR, _) in parts.items()},
        sentence={metric: sentence_R for metric, (_, sentence_R) in parts.items()},
    )


def pair_runs(runs: Runs, run_ids: list[str], split: str, protocol: str) -> Paired:
    """Read the samples of runs on a split; a run whose samples are missing or are other samples is left out and told.

    Args:
        runs: where the samples lie.
        run_ids: the first one that can be read decides which samples are compared.
        split: in full.
        protocol: whose intersections, unions and IoUs are read.
    """
    metrics, rule = metrics_of("main"), PROTOCOLS[protocol]
    names = list(dict.fromkeys(name for metric in metrics for name in columns_in_file(metric, rule)))
    kept: list[str] = []
    problems: list[str] = []
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {metric.name: [] for metric in metrics}
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
        for metric in metrics:
            sums, problem = _sums(metric, rows, rule, runs, run_id)
            found[metric.name].append(sums)
            problems += [problem] if problem else []
    return Paired(
        run_ids=tuple(kept),
        image_N=identity[:, 1] if identity is not None else np.zeros(0, dtype=np.int64),
        sums={name: _stacked(pairs) for name, pairs in found.items() if pairs},
        nothing={metric.name: metric.nothing for metric in metrics},
        problems=tuple(problems),
    )


def _sums(
    metric: Metric, rows: pd.DataFrame, rule: Protocol, runs: Runs, run_id: str
) -> tuple[tuple[np.ndarray, np.ndarray], str]:
    """Return what the samples add to a metric, NaN with a line where an added metric cannot be computed from them."""
    try:
        above, below = sums_of(metric, rows, rule, runs.input_size(run_id) if "pixels" in metric.columns else 0)
        return (above.astype(np.float64), below.astype(np.float64)), ""
    except Exception as error:
        if metric.name in BASE_METRICS:
            raise
        blank = np.full(len(rows), np.nan)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return (blank, np.ones(len(rows))), f"no statistics of {metric.heading} for {run_id}: {reason}"


def _stacked(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns of all runs; a single column below the bar serves all where each of them counts samples."""
    above, below = (np.stack(each, axis=1) for each in zip(*pairs, strict=True))
    return above, below[:, :1] if (below == 1).all() else below
