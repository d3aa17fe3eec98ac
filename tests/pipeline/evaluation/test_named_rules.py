"""Rules that only `sharedris evaluate` scores: by hand, from the command, and without a trace in ids and records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cli.main import main
from pipeline.data.masks import decode_mask
from pipeline.data.prepared.manifest import load_manifest
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.named_rules import NAMED_RULES, at_threshold, extra_rules, named_evaluators, rule_names
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.public_evaluators.registry import PUBLIC_EVALUATORS
from pipeline.records import SAMPLE_SCHEMA, read_table
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import save_model
from sharedris.scales import tiny

TOY = "toyplus_unc"


def test_the_papers_text_thresholds_the_map_and_resizes_to_the_input() -> None:
    mask = NAMED_RULES["paper_input"].binarize(torch.tensor([[0.34, 0.36]]), (2, 4), 0.35)
    assert mask.tolist() == [[False, False, True, True]] * 2
    assert NAMED_RULES["paper_input"].scored_at == "input"


def test_cgformers_masks_ignore_the_threshold_of_the_run() -> None:
    """Aligned corners: of three columns between 0 and 1 the middle one is exactly 0.5, which is background."""
    for threshold in (0.1, 0.9):
        mask = NAMED_RULES["cgformer_masks"].binarize(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), (2, 3), threshold)
        assert mask.tolist() == [[False, False, True]] * 2


def test_dmmis_masks_are_the_argmax_of_resized_logits() -> None:
    """Logits -1 and 3 at the ends of eight columns: they rise by 4/7 and are above 0 from the third column on.

    Resized probabilities would be above 0.5 only from the fourth column on.
    """
    probability_HW = torch.tensor([[-1.0, 3.0], [-1.0, 3.0]], dtype=torch.float64).sigmoid()
    mask = NAMED_RULES["dmmi_masks"].binarize(probability_HW, (2, 8), 0.35)
    assert mask.tolist() == [[False] * 2 + [True] * 6] * 2
    classes_2HW = torch.stack([-probability_HW.logit() / 2, probability_HW.logit() / 2])
    resized = torch.nn.functional.interpolate(classes_2HW[None], size=(5, 7), mode="bilinear", align_corners=True)[0]
    assert torch.equal(NAMED_RULES["dmmi_masks"].binarize(probability_HW, (5, 7), 0.35), resized.argmax(0).bool())


def test_saturated_probabilities_have_masks() -> None:
    mask = NAMED_RULES["dmmi_masks"].binarize(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), (2, 4), 0.35)
    assert mask.tolist() == [[False, False, True, True]] * 2


def test_a_fixed_threshold_is_a_rule_with_a_separate_name() -> None:
    rule = at_threshold(PROTOCOLS["original"], 0.5)
    map_HW = torch.tensor([[0.4, 0.6]])
    assert rule.name == "original@0.5"
    assert torch.equal(rule.binarize(map_HW, (2, 8), 0.35), PROTOCOLS["original"].binarize(map_HW, (2, 8), 0.5))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"decoder": replace(tiny().decoder, kind="cgformer")}, ["cgformer_masks"]),
        ({"decoder": replace(tiny().decoder, kind="dmmi")}, ["dmmi_masks"]),
        ({"system": replace(tiny().system, kind="dmmi", encoder="swin_bert")}, ["dmmi_masks"]),
        ({"system": replace(tiny().system, kind="vitdet")}, []),
    ],
)
def test_rows_of_other_papers_have_their_own_rule(changed: dict[str, object], expected: list[str]) -> None:
    config = tiny(**changed)
    assert [f"{evaluator.name}_masks" for evaluator in named_evaluators(config, [])] == expected
    assert list(extra_rules(config, [], [])) == expected


def test_no_rule_is_a_protocol_of_records() -> None:
    assert not set(NAMED_RULES) & set(PROTOCOLS)
    assert not any(name in column for name in NAMED_RULES for column in SAMPLE_SCHEMA.names)


@pytest.fixture
def model(toy_root: Path, micro_model: ComparedModelConfig, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = load_manifest(toy_root, TOY).tokenizer_path
    save_model(tmp_path / "model", build_model(micro_model), micro_model, tokenizer, 0.35, "run")
    return tmp_path / "model"


def test_thresholds_and_rules_from_the_command(
    model: Path, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(model), f"{TOY}/val", "--prepared", str(toy_root), "--device", "cpu", "--json"]
    options = ["--threshold", "0.35", "0.52", "--protocol", "paper_input", "--out", str(tmp_path / "rows.parquet")]
    assert main(command) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main([*command, *options]) == 0
    scores = json.loads(capsys.readouterr().out)
    names = [*PROTOCOLS, "paper_input"]
    assert list(scores) == [*names, *(f"{name}@{value}" for value in ("0.35", "0.52") for name in names)]
    assert {name: scores[name] for name in plain} == plain, "the run's threshold stays"
    on_pixels = {name for name, each in METRICS.items() if each.per_mask is not None}  # of recorded protocols only
    for name in names:
        same = [metric for metric in scores[name] if metric not in {*on_pixels, "values"}]
        assert [scores[f"{name}@0.35"][metric] for metric in same] == [scores[name][metric] for metric in same]
    rows = read_table(tmp_path / "rows.parquet", SAMPLE_SCHEMA)
    assert scores["paper_input@0.52"]["miou"] == pytest.approx(rows["iou_paper_input@0.52"].mean())
    mask_HW = decode_mask(rows["mask_rle"][0], height=rows["height"][0], width=rows["width"][0])
    area = rows["union_original"][0] + rows["intersection_original"][0] - rows["target_area_original"][0]
    assert np.count_nonzero(mask_HW) == area, "masks are those of the run's threshold"


@pytest.mark.parametrize("threshold", ["0", "1", "1.5", "nan"])
def test_a_threshold_out_of_range_is_refused(
    threshold: str, model: Path, toy_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), f"{TOY}/val", "--prepared", str(toy_root), "--threshold", threshold]) == 2
    assert f"--threshold {threshold} is not a probability" in capsys.readouterr().err


def test_public_evaluators_from_the_command(model: Path, toy_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every evaluator with a rule for maps: its scores stand next to those of our counting, and its rule below."""
    command = ["evaluate", str(model), f"{TOY}/val", "--prepared", str(toy_root), "--device", "cpu", "--protocol"]
    assert main([*command, "lavt", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert list(scores) == [*PROTOCOLS, "lavt_masks", "lavt"]
    assert scores["lavt"]["overall IoU"] == pytest.approx(100 * scores["lavt_masks"]["oiou"])
    names = [name for name in rule_names() if name in PUBLIC_EVALUATORS]
    names = [name for name in names if PUBLIC_EVALUATORS[name].no_target != "needed"]
    assert main([*command, *names]) == 0
    printed = capsys.readouterr().out.splitlines()
    lines = [line for each in ("lavt", "evf_sam") for line in printed if line.startswith(f"{each} (")]
    assert lines[0].startswith(f"lavt (LAVT, percent): Mean IoU {scores['lavt']['Mean IoU']:.2f}, precision@0.5 ")
    assert lines[1].startswith("evf_sam (EVF-SAM, 0 to 1): giou ")
    assert [line.split(" (")[0] for line in printed if "(" in line and line.split(" (")[0] in names] == names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lavtt", "unknown --protocol 'lavtt', did you mean 'lavt'?"),
        ("cris", "--protocol cris: its masks depend on its network"),
        ("ref_zom", f"ref_zom scores samples without a target, and {TOY}/val has none. Score a set that has some"),
    ],
)
def test_rules_that_cannot_be_scored_are_refused(
    name: str, message: str, model: Path, toy_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), f"{TOY}/val", "--prepared", str(toy_root), "--protocol", name]) == 2
    assert message in capsys.readouterr().err
