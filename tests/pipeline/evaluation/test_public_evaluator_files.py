"""Every public evaluator against what its own code returned and printed on the same masks, to the last bit."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.evaluation.metrics import metrics_of, values_of
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.public_evaluators.counts import MaskCounts
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS
from tests.golden.public_evaluators.masks import SETS, counts_of_masks, digest, make_masks

_BETWEEN = r"(?: is |'?: | = |=| )?(?:np\.float64\()?"
FOLDER = Path(__file__).resolve().parents[2] / "golden" / "public_evaluators"


@functools.cache
def masks(name: str) -> tuple[str, MaskCounts]:
    """Return the digest and the counts of a set of masks."""
    samples = make_masks(name)
    return digest(samples), counts_of_masks(samples)


def golden(name: str) -> dict[str, Any]:
    """Return what the evaluator's own code yielded."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


CASES = [(name, masks_name) for name in PUBLIC_EVALUATORS for masks_name in golden(name)["sets"]]


@pytest.mark.parametrize(("name", "masks_name"), CASES)
def test_scores_are_those_of_its_own_code_to_the_last_bit(name: str, masks_name: str) -> None:
    theirs, (found_digest, counts) = golden(name)["sets"][masks_name], masks(masks_name)
    assert (theirs["seed"], theirs["digest"]) == (SETS[masks_name], found_digest), "the masks are not those of the file"
    evaluator = PUBLIC_EVALUATORS[name]
    ours = evaluator.scores(counts)
    right = {ours_too for fault in evaluator.faults for _, ours_too in fault.right}
    assert [each for each in ours if each not in right] == list(theirs["scores"])
    assert {each: _bits(ours[each]) for each in theirs["scores"]} == {
        each: _bits(value) for each, value in theirs["scores"].items()
    }


def _bits(value: float) -> bytes:
    """Return a float's bits, one pattern for every NaN."""
    return struct.pack("<d", value if value == value else math.nan)


@pytest.mark.parametrize(
    "name", [name for name in PUBLIC_EVALUATORS if name not in ("big_vision", "mmdet", "sam3_cgf1")]
)
def test_scores_print_as_its_own_code_printed_them(name: str) -> None:
    """The three others return their scores, or print them under titles."""
    for masks_name, theirs in golden(name)["sets"].items():
        text = "\n".join(theirs["printed"])
        ours = PUBLIC_EVALUATORS[name].scores(masks(masks_name)[1])
        for score in theirs["scores"]:
            printed = re.search(rf"(?<![A-Za-z@]){re.escape(score)}{_BETWEEN}(nan|\d+(?:\.(\d+))?)", text)
            assert printed is not None, f"{score} is not printed"
            decimals = len(printed[2] or "")
            assert f"{ours[score]:.{decimals}f}" == printed[1], score


@pytest.mark.parametrize("name", PUBLIC_EVALUATORS)
def test_the_file_is_of_the_code_that_the_registry_names(name: str) -> None:
    assert golden(name)["source"] == asdict(PUBLIC_EVALUATORS[name].source)


def test_every_file_has_an_evaluator() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(PUBLIC_EVALUATORS)


def test_metrics_of_samples_without_a_target_are_relas_where_the_mask_is_the_answer() -> None:
    """METRICS holds the same rules as sums per sample, so that they have intervals; this ties the two."""
    counts = masks("mixed")[1]
    rows = pd.DataFrame(
        {
            "index": range(len(counts)),
            "intersection_original": counts.intersection,
            "union_original": counts.union,
            "target_area_original": counts.target_area,
        }
    )
    without_head = dataclasses.replace(counts, predicted_no_target=None)
    theirs = PUBLIC_EVALUATORS["rela"].scores(without_head)
    ours = values_of(metrics_of("detail"), rows, PROTOCOLS["original"], input_size=0)
    pairs = {"giou": ("gIoU", 100.0), "ciou": ("cIoU", 100.0), "n_acc": ("N_acc", 1.0), "t_acc": ("T_acc", 1.0)}
    for name, (of_rela, factor) in pairs.items():
        assert factor * (ours[name] or 0.0) == pytest.approx(theirs[of_rela], rel=1e-12), name
