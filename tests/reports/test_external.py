"""Masks of others next to ours: in the tables of methods, on the page, in lists, and in the paired test."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs

from pipeline.cli.main import main
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.records import RECORD_SCHEMA, list_runs, read_table, record_path, samples_path, write_table
from reports.__main__ import main as reports
from reports.bootstrap_samples import resample_runs
from reports.external import external_lines
from reports.load import load_runs
from reports.mask_gallery import read_predictions
from reports.paired_test import paired_test, rows_of
from reports.paper import FULL_SPLITS, SPECS
from reports.provenance import run_cards
from reports.run_selection import Wanted, select_runs
from reports.two_level import compare
from tests.pipeline.predictions.forms import FORMS, PART, SET, answers

SPLIT = f"{SET}/{PART}"
OURS = "tiny-fake-s0-ours"


def score(folder: Path, root: Path, runs: Path, *more: str, drop: int = 0, moved: bool = False) -> None:
    """Score made-up masks, some of them left out, or all of them moved."""
    found = answers(root)[drop:]
    if moved:
        found = [dataclasses.replace(each, mask=np.roll(each.mask, 9, axis=0)) for each in found]
    folder.mkdir(exist_ok=True)
    path = FORMS["lines"](found, folder)
    places = ["--runs", str(runs), "--prepared", str(root)]
    assert main(["score", str(path), "--data", SET, "--split", PART, *places, *more]) == 0


def write_ours(runs: Path, external: str) -> None:
    """Write a record of ours on the samples of an external one, with its masks under all protocols."""
    samples = read_table(samples_path(runs, external, SPLIT), sample_schema()).drop(columns="schema_version")
    for name in ("intersection", "union", "iou"):
        for protocol in PROTOCOLS:
            samples[f"{name}_{protocol}"] = samples[f"{name}_original"]
    samples["target_area_input"] = samples["target_area_original"]
    write_table(samples_path(runs, OURS, SPLIT), samples, sample_schema())
    rows = synthetic_runs.record_rows(
        OURS, synthetic_runs.FULL, seed=0, split=SPLIT, frame=samples, scale="tiny", recipe="cafe00000001",
        train_sets=(SET,),
    )  # fmt: skip
    write_table(record_path(runs, OURS), pd.DataFrame(rows), RECORD_SCHEMA)


@pytest.fixture(scope="module")
def runs(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("external")
    score(folder / "b", toy_root, folder / "runs", "--name", "Other", moved=True)
    write_ours(folder / "runs", list_runs(folder / "runs")[0])
    score(
        folder / "a", toy_root, folder / "runs",
        "--name", "LAVT", "--paper", "Yang et al., CVPR 2022", "--allow-missing", "--evaluator", "cris", drop=2,
    )  # fmt: skip
    return folder / "runs"


@pytest.mark.parametrize("table", ["I", "IX"])
def test_external_row_stands_below_ours_with_its_name_and_what_was_allowed(
    table: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reports([table, "--runs", str(runs), "--out", str(tmp_path)]) == 0
    lines = (tmp_path / "tables" / f"{table}.md").read_text(encoding="utf-8").splitlines()
    at = {
        name: next(number for number, line in enumerate(lines) if name in line)
        for name in ("Shared-RIS, tiny", "External masks, scored", "LAVT (external)", "Other (external)")
    }
    assert list(at.values()) == sorted(at.values())
    record = read_table(next((runs / "records").glob("external-LAVT-*")), RECORD_SCHEMA).iloc[0]
    shown = {"I": record["oiou"], "IX": record["miou"]}[table]
    assert f"{100 * shown:.2f}§†" in lines[at["LAVT (external)"]]
    note = next(line for line in lines if line.startswith("- LAVT (external)"))
    assert "Yang et al., CVPR 2022" in note
    assert "† 2 missing and scored as empty masks" in note
    assert json.loads(record["predictions_json"])["sha256"][:12] in note
    assert f"by the rule of cris's public code: IoU {100 * record['miou']:.2f}" in note


def test_paired_test_of_an_external_run_and_ours(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lavt, _, ours = list_runs(runs)
    assert ours == OURS
    assert reports(["compare", OURS, lavt, "--runs", str(runs), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Paired test" in printed
    assert f"{SPLIT}, protocol original" in printed
    table = pd.read_csv(tmp_path / "tables" / "compare-paired.csv")
    of = {run: read_table(record_path(runs, run), RECORD_SCHEMA) for run in (OURS, lavt)}
    scores = [rows[rows["protocol"] == "original"]["miou"].iloc[0] for rows in of.values()]
    line = table[table["Difference"].str.startswith(lavt)].iloc[0]
    found = next(line[name] for name in table if name.startswith("mIoU here"))
    assert float(found) == pytest.approx(100 * (scores[1] - scores[0]), abs=0.01)
    assert float(found) > 0
    lists = (tmp_path / "tables" / "compare.md").read_text(encoding="utf-8")
    assert "| epochs | 5 | - |" in lists


def test_paired_test_leaves_out_a_run_on_other_true_masks(runs: Path, toy_root: Path, tmp_path: Path) -> None:
    lavt, other, _ = list_runs(runs)
    shutil.copytree(runs, tmp_path / "runs")
    samples = read_table(samples_path(tmp_path / "runs", other, SPLIT), sample_schema()).drop(columns="schema_version")
    samples["target_area_original"] += 1
    write_table(samples_path(tmp_path / "runs", other, SPLIT), samples, sample_schema())
    table, problems = paired_test(load_runs(tmp_path / "runs"), [lavt, other, OURS], draws=50)
    assert problems == [f"paired test without {other}: it was scored on other true masks of {SPLIT}"]
    assert [row.cells[0].text for row in table.rows if row.kind == "row"] == [f"{OURS} − {lavt}"]


def test_score_on_a_whole_published_split_is_comparable(runs: Path) -> None:
    loaded = load_runs(runs)
    rows = loaded.external[loaded.external["run_id"] == list_runs(runs)[0]]
    rows = rows.assign(split="refcoco_unc/val", samples=FULL_SPLITS["refcoco_unc/val"])
    lines, _ = external_lines(SPECS["I"], ["RefCOCO val"], dataclasses.replace(loaded, external=rows), "original")
    assert [row.cells[0].text for row in lines] == ["LAVT (external)"]
    assert [row.cells[-1].text.count("§") for row in lines] == [0]
    part = dataclasses.replace(loaded, external=rows.assign(samples=9))
    lines, _ = external_lines(SPECS["I"], ["RefCOCO val"], part, "original")
    assert [row.cells[-1].text.count("§") for row in lines] == [1]
    twice = dataclasses.replace(
        loaded, external=pd.concat([rows, rows.assign(run_id="external-LAVT-again")], ignore_index=True)
    )
    lines, _ = external_lines(SPECS["I"], ["RefCOCO val"], twice, "original")
    assert [row.cells[-1].text for row in lines] == ["two claims"]


def test_cards_and_galleries_have_it(runs: Path) -> None:
    loaded, lavt = load_runs(runs), list_runs(runs)[0]
    assert set(loaded.records["run_id"]) == {OURS}
    assert loaded.external["run_id"].nunique() == 2
    assert loaded.records["epochs"].dtype == np.int64
    card = next(card for card in run_cards(loaded) if card.id == lavt)
    assert card.label == "LAVT (external)"
    assert "its masks were scored here" in dict(card.facts)["system"]
    choice = select_runs(loaded.records, loaded.claims, [synthetic_runs.FULL], Wanted())
    shown = read_predictions(loaded, choice, [lavt, OURS])
    assert shown.problems == ()
    assert shown.labels[lavt] == "LAVT (external)"
    assert shown.mask[lavt].map(len).min() > 0


def test_explorer_shows_it_next_to_ours(
    runs: Path, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--masks-of", OURS, list_runs(runs)[0]]
    places = ["--runs", str(runs), "--prepared", str(toy_root), "--out", str(tmp_path)]
    assert reports(["explore", *places, *named]) == 0
    assert "2 run(s)" in capsys.readouterr().out


@pytest.mark.slow
def test_page_and_galleries_show_it(
    runs: Path, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lavt = list_runs(runs)[0]
    code = reports(
        ["all", "--runs", str(runs), "--out", str(tmp_path), "--prepared", str(toy_root), "--masks-of", lavt, OURS]
    )
    problems = capsys.readouterr().err
    assert lavt not in problems, problems
    assert code in (0, 1)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "LAVT (external)" in page
    assert "its masks were scored here" in page


def test_lists_and_rescoring_cope(
    runs: Path, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "small.npz", **{str(each.sent_id): np.zeros((16, 16), bool) for each in answers(toy_root)})
    at_input = ["--at", "input", "--input-size", "16", "--name", "Small"]
    places = ["--runs", str(tmp_path / "runs"), "--prepared", str(toy_root)]
    assert main(["score", str(tmp_path / "small.npz"), "--data", SET, "--split", PART, *at_input, *places]) == 0
    small = list_runs(tmp_path / "runs")[0]
    for root, name in ((runs, list_runs(runs)[0]), (tmp_path / "runs", small)):
        capsys.readouterr()
        assert main(["runs", "--runs", str(root)]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(name))
        assert "done" in line
        assert "damaged" not in line
        assert main(["runs", "rescore", name, "--runs", str(root)]) == 0
        assert "nothing is missing" in capsys.readouterr().out
    assert reports(["I", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert "not scored" in (tmp_path / "out" / "tables" / "I.md").read_text(encoding="utf-8")
    assert main(["runs", "--runs", str(tmp_path / "runs"), "rm", small, "--yes"]) == 0
    assert not list((tmp_path / "runs").glob("*/*external*"))


def test_seeds_of_one_training_are_compared_over_trainings_and_images(tmp_path: Path) -> None:
    run_ids = synthetic_runs.write_runs(
        tmp_path, {synthetic_runs.NO_FPN: -0.05, synthetic_runs.FULL: 0.05}, seeds=(0, 1)
    )
    loaded = load_runs(tmp_path)
    assert rows_of(loaded, run_ids) == [run_ids[:2], run_ids[2:]]
    table, problems = paired_test(loaded, run_ids, draws=100)
    assert problems == []
    lines = [row for row in table.rows if row.kind == "row"]
    names = {line.cells[0].text for line in lines}
    assert names == {f"{run_ids[2]} (2 seeds) − {run_ids[0]} (2 seeds)"}
    resampled = resample_runs(loaded, run_ids, SPLIT, "original", draws=100)
    expected = compare(resampled.scores["oiou"], [2, 3], [0, 1])
    of_original = next(
        line for section, line in itertools.pairwise(table.rows) if "protocol original" in section.cells[0].text
    )
    assert of_original.cells[1].value == pytest.approx(100 * expected.observed)
    assert of_original.cells[2].parts == (pytest.approx(100 * expected.high),)
    assert "over trainings and images" in table.caption
    assert table.notes == ()

    table, _ = paired_test(loaded, [run_ids[0], run_ids[2]], draws=100)
    assert "Paired bootstrap over images" in table.caption
    assert table.notes == (f"Other seeds of these rows were not named: {run_ids[1]}, {run_ids[3]}.",)
