"""`sharedris score`: every form gives the same record, and bad predictions are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from pipeline.cli.main import main
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.evaluation.metrics import METRICS, record_schema
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.predictions import external_record
from pipeline.records import list_runs, read_table, record_path, samples_path
from tests.pipeline.predictions.forms import FORMS, PART, SET, Answer, answers


def score(path: Path, root: Path, runs: Path, *more: str) -> int:
    places = ["--runs", str(runs), "--prepared", str(root)]
    return main(["score", str(path), "--data", SET, "--split", PART, "--name", "LAVT", *places, *more])


def recorded(runs: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    (run_id,) = list_runs(runs)
    samples = read_table(samples_path(runs, run_id, f"{SET}/{PART}"), sample_schema())
    return read_table(record_path(runs, run_id), record_schema()), samples


@pytest.fixture(scope="module")
def found(toy_root: Path) -> list[Answer]:
    return answers(toy_root)


@pytest.fixture(scope="module")
def lines_record(found: list[Answer], toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("lines")
    assert score(FORMS["lines"](found, folder), toy_root, folder / "runs") == 0
    return recorded(folder / "runs")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_record(
    form: str, found: list[Answer], lines_record: tuple[pd.DataFrame, pd.DataFrame], toy_root: Path, tmp_path: Path
) -> None:
    assert score(FORMS[form](found, tmp_path), toy_root, tmp_path / "runs") == 0
    record, samples = recorded(tmp_path / "runs")
    assert (
        json.loads(record["predictions_json"][0])["form"]
        == form.partition("-")[0].replace("png", "masks").replace("npy", "masks")
        or form == "npz-folder"
    )
    same = [name for name in record if name not in ("predictions_json", "started", "seconds")]
    pd.testing.assert_frame_equal(record[same], lines_record[0][same], check_exact=True)
    pd.testing.assert_frame_equal(samples, lines_record[1], check_exact=True)


def test_scores_are_those_of_the_masks(
    found: list[Answer], lines_record: tuple[pd.DataFrame, pd.DataFrame], toy_root: Path
) -> None:
    record, samples = lines_record
    by_sentence = {each.sent_id: each.mask for each in found}
    row = record.iloc[0]
    assert len(record) == 1
    assert row["protocol"] == "original"
    assert row["system"] == "external"
    assert row["samples"] == len(found) == len(samples)
    assert pd.isna(row["million_params"])
    assert pd.isna(row["epochs"])
    assert pd.isna(row["recipe"])
    assert samples["iou_paper"].isna().all()
    assert samples["union_input"].isna().all()
    area = np.array([by_sentence[sent_id].sum() for sent_id in samples["sent_id"]])
    overlap, true = samples["intersection_original"], samples["target_area_original"]
    assert (samples["union_original"] == area + true - overlap).all()
    moved = samples["sent_id"] % 4 == 2
    assert moved.any()
    assert (samples.loc[moved, "iou_original"] == 1).all()
    assert (samples.loc[samples["sent_id"] % 4 == 3, "iou_original"] == 0).all()
    assert row["oiou"] == overlap.sum() / samples["union_original"].sum()
    assert all(
        np.isfinite(row[name]) != (metric.per_mask is not None)  # masks are compared as run lengths, none is looked at
        for name, metric in METRICS.items()
        if not metric.no_target
    )


def refusal(path: Path, root: Path, runs: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Return the one line that a refused command prints; nothing may have been recorded."""
    capsys.readouterr()
    assert score(path, root, runs, *more) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert not list(runs.rglob("*")) or not any(path.is_file() for path in runs.rglob("*"))
    return err


def write_lines(folder: Path, entries: list[object]) -> Path:
    path = folder / "masks.jsonl"
    path.write_text("".join(f"{entry if isinstance(entry, str) else json.dumps(entry)}\n" for entry in entries))
    return path


def entries_of(found: list[Answer]) -> list[dict[str, object]]:
    return [{"sent_id": each.sent_id, "segmentation": each.rle} for each in found]


def test_all_faults_are_counted_and_refused_together(
    found: list[Answer], toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = entries_of(found)
    small = {"size": [2, 2], "counts": [4]}
    bad = [
        {**entries[0], "segmentation": small},
        {**entries[1], "segmentation": {**found[1].rle, "counts": "!damaged"}},
        {"segmentation": small},
        entries[2],
        *({"sent_id": 10**6 + number, "segmentation": small} for number in range(5)),
    ]
    line = refusal(write_lines(tmp_path, [*entries[2:-4], *bad]), toy_root, tmp_path / "runs", capsys)
    assert "4 missing (sent_id" in line
    assert "1 double (masks.jsonl:" in line
    assert "5 unknown (" in line
    assert line.count("sent_id 100000") == 3
    assert ", ..)" in line
    assert "1 wrongly sized (masks.jsonl:" in line
    assert "2 x 2 for" in line
    assert "2 unreadable (masks.jsonl:" in line
    assert "has no sent_id" in line


def test_missing_and_unknown_can_be_allowed(
    found: list[Answer], toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_lines(tmp_path, [*entries_of(found)[3:], {"sent_id": 10**6, "segmentation": {}}])
    runs = tmp_path / "runs"
    assert "--allow-missing" in refusal(path, toy_root, runs, capsys, "--allow-unknown")
    assert "--allow-unknown" in refusal(path, toy_root, runs, capsys, "--allow-missing")
    assert score(path, toy_root, runs, "--allow-missing", "--allow-unknown", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["missing"] == 3
    assert printed["unknown"] == 1
    record, samples = recorded(runs)
    assert json.loads(record["predictions_json"][0])["missing"] == 3
    absent = samples["sent_id"].isin([each.sent_id for each in found[:3]])
    assert (samples.loc[absent, "intersection_original"] == 0).all()
    assert (samples.loc[absent, "union_original"] == samples.loc[absent, "target_area_original"]).all()


def test_same_command_has_nothing_to_do_and_others_ask_for_replace(
    found: list[Answer], toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, path = tmp_path / "runs", write_lines(tmp_path, list(entries_of(found)))
    assert score(path, toy_root, runs) == 0
    first = capsys.readouterr().out
    record = next((runs / "records").iterdir())
    before = record.read_bytes()
    assert score(path, toy_root, runs) == 0
    again = capsys.readouterr()
    assert "nothing to do" in again.err
    assert again.out == first
    assert record.read_bytes() == before
    write_lines(tmp_path, [{**entry, "score": 1} for entry in entries_of(found)])
    assert score(path, toy_root, runs) == 2
    assert "--replace" in capsys.readouterr().err
    assert record.read_bytes() == before
    assert score(path, toy_root, runs, "--replace", "--paper", "CVPR 2022") == 0
    assert json.loads(recorded(runs)[0]["predictions_json"][0])["paper"] == "CVPR 2022"


def test_an_interrupted_replacement_counts_as_not_scored(
    found: list[Answer], toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, path = tmp_path / "runs", write_lines(tmp_path, list(entries_of(found)))
    assert score(path, toy_root, runs) == 0
    record = next((runs / "records").iterdir())
    before = record.read_bytes()

    def killed(place: Path, *_: object) -> None:
        assert place == record or not record.exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(external_record, "write_table", killed)
        assert score(write_lines(tmp_path, list(entries_of(found)[::-1])), toy_root, runs, "--replace") == 130
    assert not record.exists()
    assert score(write_lines(tmp_path, list(entries_of(found))), toy_root, runs) == 0
    samples = pq.read_table(samples_path(runs, record.stem, f"{SET}/{PART}"))
    assert samples.num_rows == len(found)
    assert len(record.read_bytes()) == pytest.approx(len(before), rel=0.05)


def test_a_record_that_another_command_writes_is_left_alone(
    found: list[Answer], toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    runs, path = tmp_path / "runs", write_lines(tmp_path, list(entries_of(found)))
    assert score(path, toy_root, runs) == 0
    (run_id,) = list_runs(runs)
    monkeypatch.setattr(external_record, "_LOCK_SECONDS", 0.05)
    with FileLock(runs / "state" / run_id / "driver.lock"):
        assert score(path, toy_root, runs, "--replace") == 2
    assert "is being written by another command" in capsys.readouterr().err


def test_another_split_is_added_to_the_record(toy_root: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for part in ("val", "testA"):
        path = write_lines(tmp_path, list(entries_of(answers(toy_root, part))))
        assert score(path, toy_root, runs, "--split", part) == 0
    (run_id,) = list_runs(runs)
    rows = read_table(record_path(runs, run_id), record_schema())
    assert sorted(rows["split"]) == [f"{SET}/testA", f"{SET}/val"]
    assert rows["samples"].dtype == np.int64
    assert rows["run_id"].nunique() == 1
    assert all(samples_path(runs, run_id, split).exists() for split in rows["split"])


def test_masks_at_input_size_are_compared_with_the_resized_truth(
    found: list[Answer], toy_root: Path, tmp_path: Path
) -> None:
    from pipeline.data.dataset.transforms import resize_mask

    masks = {each.sent_id: resize_mask(each.mask.astype(np.uint8), 48) for each in found}
    np.savez(tmp_path / "masks.npz", **{str(sent_id): mask for sent_id, mask in masks.items()})
    assert score(tmp_path / "masks.npz", toy_root, tmp_path / "runs", "--at", "input", "--input-size", "48") == 0
    record, samples = recorded(tmp_path / "runs")
    assert list(record["protocol"]) == ["input"]
    assert samples["iou_original"].isna().all()
    assert (samples.loc[samples["sent_id"] % 4 == 2, "iou_input"] == 1).all()
    assert samples["mask_rle"].isna().all()
    assert (samples["target_area_original"] > samples["target_area_input"]).any()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no known form"),
        (b"\x80\x04K\x01.", "no known form"),
        (b'{"sent_id": 1}\n{"sent_id": 1, "sent_id": 2}\n', "occurs twice"),
        (b'{"sent_id": 1, "segmentation"', "is not JSON"),
        (b"[1, 2", "is not readable JSON"),
        (b'[{"sent_id": 1e999}] 2', "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"PAR1 and more", "parquet"),
        (b"PK\x03\x04 and more", "npz"),
    ],
)
def test_hostile_files_are_one_line(
    content: bytes, words: str, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "masks"
    path.write_bytes(content)
    assert words in refusal(path, toy_root, tmp_path / "runs", capsys)


def test_hostile_entries_are_counted(
    found: list[Answer], toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    ids = iter(each.sent_id for each in found)
    np.save(folder / f"{next(ids)}.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / f"{next(ids)}.npy", np.full((2, 2), 7, np.uint8))
    np.save(folder / f"{next(ids)}.npy", np.zeros((2, 2)))
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 99999999), }"
    (folder / f"{next(ids)}.npy").write_bytes(header.ljust(128, b" "))
    (folder / f"{next(ids)}.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    (folder / "mask.png").write_bytes(b"")
    line = refusal(folder, toy_root, tmp_path / "runs", capsys, "--allow-missing")
    assert "6 unreadable (" in line
    assert "missing" not in line
    (folder / f"{next(ids)}.png").symlink_to("/dev/zero")
    assert "a device" in refusal(folder, toy_root, tmp_path / "runs", capsys, "--allow-missing")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--at", "input"), "--input-size"),
        (("--input-size", "48"), "--at input"),
        (("--name", "../LAVT"), "cannot name a system"),
        (("--format", "masks"), "--format masks"),
        (("--split", "refcoco_unc/val"), "is not of --data"),
        (("--split", "test"), "no split"),
        (("--prepared", "/nowhere"), "is not prepared"),
    ],
)
def test_wrong_arguments_are_one_line(
    more: tuple[str, ...], words: str, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_lines(tmp_path, [{}])
    assert words in refusal(path, toy_root, tmp_path / "runs", capsys, *more)


def test_public_evaluators_score_the_same_masks(
    found: list[Answer], toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_lines(tmp_path, list(entries_of(found)))
    runs = tmp_path / "runs"
    assert "without a target" in refusal(path, toy_root, runs, capsys, "--evaluator", "ref_zom")
    assert score(path, toy_root, runs, "--evaluator", "all", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["evaluators"]) == set(PUBLIC_EVALUATORS)
    _, samples = recorded(runs)
    iou = samples["intersection_original"] / (samples["union_original"] + 1e-6)
    cgformer = printed["evaluators"]["cgformer"]
    assert cgformer["scores"]["mIoU"] == pytest.approx(100 * iou.mean(), abs=1e-9)
    assert cgformer["remark"] == ""
    assert "compares at the input size" in printed["evaluators"]["lavt"]["remark"]
    assert "without a target" in printed["evaluators"]["ref_zom"]["remark"]
    stored = json.loads(recorded(runs)[0]["public_scores_json"][0])
    assert stored["cgformer"] == cgformer["scores"]
    assert not {"lavt", "ref_zom"} & {*stored}
    before = next((runs / "records").iterdir()).read_bytes()
    assert score(path, toy_root, runs, "--evaluator", "cris") == 0
    assert next((runs / "records").iterdir()).read_bytes() == before
    assert "cris (CRIS, percent): IoU " in capsys.readouterr().out


def test_samples_without_a_target_have_their_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic(tmp_path / "refer", "toyg_none", expressions=40, seed=0)
    root = tmp_path / "prepared"
    prepare_source(read_refer(tmp_path / "refer", "toyg_none"), str(root))
    found = answers(root, PART, "toyg_none")
    empty = {each.sent_id for each in found if not each.true.any()}
    assert 0 < len(empty) < len(found)
    answered = {each.sent_id for each in found if not each.mask.any()}
    command = ["score", str(FORMS["lines"](found, tmp_path)), "--data", "toyg_none", "--split", PART, "--name", "ReLA"]
    places = ["--runs", str(tmp_path / "runs"), "--prepared", str(root), "--json", "--evaluator", "rela"]
    assert main([*command, *places]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["n_acc"] == len(empty & answered) / len(empty)
    assert printed["evaluators"]["rela"]["scores"]["gIoU"] == pytest.approx(100 * printed["giou"])


def test_rescoring_adds_a_metric_of_a_plugin(
    found: list[Answer], toy_root: Path, tmp_path: Path, fresh_plugins: None, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert score(write_lines(tmp_path, list(entries_of(found))), toy_root, runs) == 0
    before, _ = recorded(runs)
    plugin = tmp_path / "halves.py"
    plugin.write_text(
        "from pipeline.evaluation.metrics import Metric\n"
        'HALF = Metric(name="half_miou", heading="half", columns=("iou", "pixels"), formula=lambda iou, _: iou / 2)\n'
        'METRICS = {"half_miou": HALF}\n'
    )
    capsys.readouterr()
    assert main(["runs", "rescore", "all", "--runs", str(runs), "--plugin", str(plugin)]) == 0
    assert "added metric half_miou" in capsys.readouterr().out
    record, _ = recorded(runs)
    assert record["half_miou"][0] == pytest.approx(record["miou"][0] / 2)
    assert pd.isna(record["seed"][0])
    same = [name for name in before if name != "rescored_json"]
    pd.testing.assert_frame_equal(record[same], before[same], check_dtype=False)
