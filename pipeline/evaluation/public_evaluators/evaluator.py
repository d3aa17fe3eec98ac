"""A public evaluator: where its code is, its rule in words, and the same numbers from counts of pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.evaluation.protocols import Protocol
from pipeline.evaluation.public_evaluators.counts import MaskCounts, counts_of
from sharedris.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Source:
    """The public code whose numbers are reproduced."""

    repository: str
    commit: str
    file: str
    function: str


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A known fault of a public evaluator. Its scores are reproduced as they are.

    Attributes:
        what: the fault in words.
        scores: names of the scores it changes; () where it can change every one.
        right: name of a wrong score -> name of the right value that stands next to it.
    """

    what: str
    scores: tuple[str, ...] = ()
    right: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The fault in words, and the names of the right values."""
        return f"{self.what}; right: {', '.join(name for _, name in self.right)}" if self.right else self.what


@dataclass(frozen=True, kw_only=True)
class PublicEvaluator:
    """A rule of counting, as one paper's public code has it.

    Attributes:
        name: as `--protocol` and tables print it.
        system: the paper or tool.
        source: the code that was read and run.
        masks: in words: how a mask is made, and the size at which masks are compared.
        both_empty: in words: what a sample with two empty masks counts as.
        precision_at: in words: how P@X compares; "" where it has none.
        means: in words: over what means are taken, and the type of number that adds up.
        scored_at: the size at which the code compares masks.
        no_target: samples without a target are `needed` by some score, `counted` as all others, or `apart` where they
            are there.
        grouped_by: what the code adds up by; "" for single samples.
        formula: (counts) -> score by the name that the code prints, in the unit that it prints.
        unit: of the scores, in words.
        faults: known ones, reproduced.
        mask_rule: how the code makes a mask of a map of logits; None where that depends on its network.
        input_rule: how it makes the masks that it only counts the pixels of, at the input size.
    """

    name: str
    system: str
    source: Source
    masks: str
    both_empty: str
    precision_at: str
    means: str
    scored_at: Literal["original", "input"]
    no_target: Literal["needed", "counted", "apart"]
    grouped_by: Literal["", "image_ids", "ref_ids"] = ""
    formula: Callable[[MaskCounts], dict[str, float]]
    unit: str = "percent"
    faults: tuple[Fault, ...] = ()
    mask_rule: Protocol | None = None
    input_rule: Protocol | None = None

    @property
    def rule(self) -> str:
        """The rule in words: masks, both empty, P@X, means."""
        precision = f"; P@X: {self.precision_at}" if self.precision_at else ""
        return f"{self.masks}; both empty: {self.both_empty}{precision}; means {self.means}"

    @property
    def rules_on_maps(self) -> list[Protocol]:
        """The protocols whose counts it needs to score our maps; none where only its network makes its masks."""
        return [rule for rule in (self.mask_rule, self.input_rule) if rule is not None]

    def scores_of_rows(self, rows: pd.DataFrame) -> dict[str, float]:
        """Return the scores of per-sample rows that have the columns of `rules_on_maps`.

        Raises:
            InputError: as `scores`.
        """
        assert self.mask_rule is not None, f"{self.name} has no rule for maps"
        return self.scores(counts_of(rows, self.mask_rule, at_input=self.input_rule))

    def scores(self, counts: MaskCounts) -> dict[str, float]:
        """Return what the public code prints for these masks, NaN included, and the right values next to faults.

        Raises:
            InputError: when there are no samples, or a score of this evaluator needs what the counts do not have.
        """
        self.require(counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {name: float(value) for name, value in self.formula(counts).items()}

    def require(self, counts: MaskCounts) -> None:
        """Check that the counts have what the code needs.

        Raises:
            InputError: naming what is missing.
        """
        if len(counts) == 0:
            raise InputError(f"{self.name} has no samples to score", "Give a split that has some")
        self.require_no_target(bool(counts.without_target.any()))
        if self.grouped_by and getattr(counts, self.grouped_by) is None:
            raise InputError(f"{self.name} adds up by {self.grouped_by}, and the counts have none", "Give these ids")

    def require_no_target(self, has_any: bool, split: str = "this set") -> None:
        """Check that a split has samples without a target, where a score needs them.

        Raises:
            InputError: when it has none.
        """
        if self.no_target == "needed" and not has_any:
            raise InputError(
                f"{self.name} scores samples without a target, and {split} has none",
                "Score a set that has some (gRefCOCO, Ref-ZOM, R-RefCOCO), or name another evaluator",
            )

    def lines(self, scores: dict[str, float]) -> list[str]:
        """Return the lines that a command prints: scores, rule, known faults."""
        shown = ", ".join(
            f"{name} {value:.2f}" if self.unit == "percent" else f"{name} {value:.4f}" for name, value in scores.items()
        )
        lines = [f"{self.name} ({self.system}, {self.unit}): {shown}", f"  {self.rule}"]
        return [*lines, *(f"  known fault: {fault.text}" for fault in self.faults)]
