"""How often the rarest word of an expression was seen in training: words by count, from the prepared train splits."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.breakdown import draw_bins
from reports.ground_truth import read_split
from reports.run_selection import RunSelection

EDGES = (1, 10, 100, 1000)
NAMES = ("never", "1–9", "10–99", "100–999", "≥1000")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def words_of(expression: str) -> list[str]:
    """Return the words of an expression in lower case, without punctuation."""
    return _WORD.findall(expression.lower())


def count_words(prepared: Path, train_sets: list[str]) -> Counter[str] | None:
    """Return how often each word occurs in the train splits; None where one is not prepared, or was changed."""
    counts: Counter[str] = Counter()
    for name in train_sets:
        try:
            _, rows = read_split(prepared / name, "train")
            expressions = rows["expressions"].to_pylist()
        except (OSError, ValueError, KeyError):
            return None
        for of_ref in expressions:
            for expression in of_ref:
                counts.update(words_of(expression))
    return counts


def by_seen_words(frames: dict[str, pd.DataFrame], choice: RunSelection, counts: Counter[str] | None) -> Figure | None:
    """Draw IoU by the count in training of the expression's rarest word; None without counts."""
    if counts is None or not frames:
        return None
    binner = {
        variant: np.digitize(
            [min((counts[word] for word in words_of(text)), default=0) for text in frame["expression"]], EDGES
        )
        for variant, frame in frames.items()
    }
    label = "occurrences of the rarest word in the training expressions"
    return draw_bins(frames, binner, list(NAMES), choice, label, "IoU by seen and unseen words")
