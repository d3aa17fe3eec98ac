"""Every reader of predictions gets broken files, as `tests/fuzz/test_readers.py` does for all other files."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.predictions.registry import PREDICTION_READERS, choose_reader
from pipeline.predictions.score import score_predictions
from pipeline.predictions.targets import Targets
from tests.fuzz.test_readers import QUICK, Target, dump_json, dump_lines, given_seeds, read_changed
from tests.pipeline.predictions.forms import FORMS, PART, SET, answers

KINDS = ("lines", "array", "parquet", "npz", "png", "npy", "cris")


def read(path: Path, targets: Targets) -> None:
    predictions = PREDICTION_READERS[choose_reader(path)].read(path)
    score_predictions(targets, predictions, allow_missing=True, allow_unknown=True)


def try_files(kind: str, root: Path, folder: Path, seeds: Iterator[int]) -> int:
    targets = Targets(str(root), f"{SET}/{PART}")
    place = FORMS[kind](answers(root), folder)
    path = place if place.is_file() else sorted(place.glob("*.*[gy]"))[-1]
    valid, tried = path.read_bytes(), 0
    dump = {"lines": dump_lines, "array": dump_json}.get(kind)
    value = None
    if dump is not None:
        text = valid.decode()
        value = [json.loads(line) for line in text.splitlines()] if kind == "lines" else json.loads(text)
    target = Target(path=path, read=lambda: read(place, targets), dump=dump, value=value)
    target.read()  # as it is, it is read
    for seed in seeds:
        read_changed(target, valid, seed)
        tried += 1
    return tried


@pytest.mark.parametrize("kind", KINDS)
def test_only_our_errors_escape(kind: str, toy_root: Path, tmp_path: Path) -> None:
    assert try_files(kind, toy_root, tmp_path, given_seeds(QUICK))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_only_our_errors_escape_for_minutes(
    kind: str, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deadline = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "600")) / 30
    first = int.from_bytes(os.urandom(4))
    seeds = iter(lambda: first + random.getrandbits(40) if time.monotonic() < deadline else None, None)
    tried = try_files(kind, toy_root, tmp_path, seeds)
    with capsys.disabled():
        print(f"\npredictions as {kind}: {tried} broken files, seeds from {first}")
