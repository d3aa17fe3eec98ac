"""Epochs of one sentence per ref: every ref once, sentences by seed and epoch, from a clean resume the same bits."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig, replace_at
from pipeline.data.dataset.combined import CombinedDataset, training_dataset
from pipeline.data.dataset.one_per_ref import OneSentencePerRef
from pipeline.data.dataset.train_loader import TrainLoader
from pipeline.job import Job, resolve_job
from pipeline.records import RECORD_SCHEMA, read_table, record_path
from pipeline.run import run_in_process
from pipeline.training import trainer
from reports.captions import _sentences
from tests.integration import workers

FIELD = "data.sentences_per_epoch"


@pytest.fixture(scope="module")
def sentences(toys: Path) -> CombinedDataset:
    return training_dataset(toys, ("toy_unc", "toyg_umd"), image_size=32, text_tokens=12)


def refs_and_sentences(data: OneSentencePerRef, epoch: int) -> list[tuple[str, int, int]]:
    data.set_epoch(epoch)
    infos = [data[index].info for index in range(len(data))]
    return [(info.split, info.ref_id, info.sent_id) for info in infos]


def test_every_ref_of_every_set_is_read_once_with_one_of_its_sentences(sentences: CombinedDataset) -> None:
    infos = [part.info(index) for part in sentences.parts for index in range(len(part))]
    of_ref = Counter((info.split, info.ref_id) for info in infos)
    assert max(of_ref.values()) > 1, "refs of several sentences, or the test shows nothing"
    read = refs_and_sentences(OneSentencePerRef(sentences, seed=0), epoch=0)
    assert Counter((split, ref) for split, ref, _ in read) == dict.fromkeys(of_ref, 1)
    assert set(read) <= {(info.split, info.ref_id, info.sent_id) for info in infos}


def test_sentences_depend_only_on_seed_and_epoch(sentences: CombinedDataset) -> None:
    read = refs_and_sentences(OneSentencePerRef(sentences, seed=0), epoch=3)
    again = OneSentencePerRef(sentences, seed=0)
    assert refs_and_sentences(again, epoch=4) != read
    assert refs_and_sentences(again, epoch=3) == read, "whatever epoch was read before"
    assert refs_and_sentences(OneSentencePerRef(sentences, seed=1), epoch=3) != read


def test_over_many_epochs_every_sentence_is_read_equally_often(sentences: CombinedDataset) -> None:
    data = OneSentencePerRef(sentences, seed=5)
    epochs = 400
    counts = np.zeros(len(sentences))
    for epoch in range(epochs):
        data.set_epoch(epoch)
        counts[data._chosen_R] += 1
    chance = np.repeat(1 / data._sentences_R, data._sentences_R)
    deviation = np.sqrt(epochs * chance * (1 - chance))
    assert (np.abs(counts - epochs * chance) <= 5 * deviation).all()


def test_ranks_divide_the_refs_of_an_epoch(sentences: CombinedDataset) -> None:
    read: list[tuple[str, int]] = []
    for rank in range(2):
        data = OneSentencePerRef(sentences, seed=0)
        for batch in TrainLoader(data, batch_size=4, rank=rank, world_size=2).epoch(1):
            read += [(info.split, info.ref_id) for info in batch.samples]
    assert len(set(read)) == len(read) == len(data) // 8 * 8


def one_per_ref(micro_run: RunConfig) -> RunConfig:
    config = replace_at(micro_run, FIELD, "one_per_ref")
    config = replace_at(config, "model.encoder.drop_path", 0.2)
    return replace_at(config, "train.max_samples_per_epoch", None)


def test_only_the_other_value_changes_the_id(micro_run: RunConfig) -> None:
    assert replace_at(micro_run, FIELD, "all").run_id("data") == micro_run.run_id("data")
    changed = replace_at(micro_run, FIELD, "one_per_ref")
    assert changed.run_id("data") != micro_run.run_id("data")
    assert changed.recipe("data") != micro_run.recipe("data"), "no table mixes the two"
    with pytest.raises(ValueError, match=FIELD):
        replace_at(micro_run, FIELD, "some")


def test_a_resumed_run_ends_with_the_same_bits(
    micro_run: RunConfig, execution: ExecutionConfig, tmp_path: Path, monkeypatch: Any
) -> None:
    config = one_per_ref(micro_run)

    def job_in(folder: str) -> Job:
        changed = replace(execution, runs_root=str(tmp_path / folder), checkpoint_every_steps=1)
        provenance = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
        return resolve_job(config, changed, provenance=provenance)

    whole, cut = job_in("whole"), job_in("cut")
    run_in_process(whole)
    record = read_table(record_path(whole.runs_root, whole.run_id), RECORD_SCHEMA)
    steps = int(record["steps"].iloc[0])
    assert json.loads(record["config_json"].iloc[0])["data"]["sentences_per_epoch"] == "one_per_ref"
    assert "one sentence per ref and epoch" in _sentences(record.iloc[0])
    step_of = trainer.train_step

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if options["step"] == steps // 2 + 1:
            raise KeyboardInterrupt
        return step_of(*arguments, **options)

    monkeypatch.setattr(trainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in_process(cut)
    monkeypatch.setattr(trainer, "train_step", step_of)
    run_in_process(cut)
    expected, got = workers.outcome(whole), workers.outcome(cut)
    for part in ("history", "weights", "samples", "record"):
        assert got[part] == expected[part], part


def test_a_caption_of_an_older_record_says_nothing() -> None:
    assert _sentences(pd.Series({"config_json": json.dumps({"data": {"train_sets": ["a"]}})})) == ""
    assert _sentences(pd.Series({"config_json": "{}"})) == ""


@pytest.mark.slow  # the plan of the base model
@pytest.mark.parametrize(("value", "samples"), [("all", 4_221_840), ("one_per_ref", 1_481_760)])
def test_the_plan_counts_the_samples_of_either_reading(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, value: str, samples: int
) -> None:
    arguments = ["--prepared", str(tmp_path), "--runs", str(tmp_path / "runs"), f"--{FIELD.replace('_', '-')}={value}"]
    assert main(["train", "--preset", "paper", "--plan", *arguments]) == 0
    printed = capsys.readouterr().out
    assert f"{samples} samples" in printed
    assert ("one sentence per ref and epoch" in printed) == (value == "one_per_ref")
