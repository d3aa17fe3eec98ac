"""What version 0.2 took still works, means the same, and is answered with the new spelling."""

from __future__ import annotations

import json

import pytest

from pipeline.cli.main import main
from pipeline.cli.old_spellings import in_new_spelling
from pipeline.cli.parsing import parse
from pipeline.config import RunConfig
from pipeline.recipes import default_run
from sharedris.config import to_dict
from sharedris.errors import InputError


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("synthesize --set toy_unc", "data synthesize --data toy_unc"),
        ("prepare refer --root R --set toy_unc", "data prepare refer --root R --data toy_unc"),
        ("check toy_unc --json out.json", "data check toy_unc --out out.json"),
        ("rescore all", "runs rescore all"),
        ("import-dual --swin a", "import dual --swin a"),
        ("train --model base --seed 1", "train --scale base --seed 1"),
        ("train --evaluate toy_unc/val,toy_unc/testA", "train --evaluate toy_unc/val toy_unc/testA"),
        ("train --weights vilt=a=b.safetensors", "train --weights vilt a=b.safetensors"),
        ("train --set optim.learning_rate=2e-4", "train --optim.learning-rate=2e-4"),
        ("train --set train.synchronize_batch_norm=false", "train --train.no-synchronize-batch-norm"),
        ("train --set model.fpn.stages=[6,12]", "train --model.fpn.stages 6 12"),
        ("train --set train.max_samples_per_epoch=null", "train --train.max-samples-per-epoch=None"),
        ("predict a.png it --run R --runs-root runs", "predict a.png it --run R --runs runs"),
        ("runs --runs other tag R word", "runs tag --runs other R word"),
    ],
)
def test_an_old_line_becomes_a_new_one(old: str, new: str) -> None:
    words, notes = in_new_spelling(old.split())
    assert words == new.split()
    assert (not notes) == (old.startswith("runs "))
    assert in_new_spelling(words) == (words, [])


def test_braces_set_the_fields_below() -> None:
    words, _ = in_new_spelling(["train", "--set", 'model.fpn={"kind":"concat","stages":[6,12]}'])
    assert words == ["train", "--model.fpn.kind=concat", "--model.fpn.stages", "6", "12"]


@pytest.mark.parametrize(
    ("assignment", "field", "value"),
    [
        ("optim.weight_decay=1", ("optim", "weight_decay"), 1),
        ("optim.weight_decay=1.0", ("optim", "weight_decay"), 1.0),
        ("optim.learning_rate=2e-4", ("optim", "learning_rate"), 2e-4),
        ("model.fpn.stages=[6,12]", ("model", "fpn", "stages"), [6, 12]),
        ("train.max_samples_per_epoch=7", ("train", "max_samples_per_epoch"), 7),
    ],
)
def test_the_run_is_the_same_to_the_type_of_a_number(assignment: str, field: tuple[str, ...], value: object) -> None:
    words, _ = in_new_spelling(["train", "--set", assignment])
    options = parse(("train",), words[1:])
    found: object = to_dict(options.run)
    for name in field:
        assert isinstance(found, dict)
        found = found[name]
    assert json.dumps(found) == json.dumps(value)


def test_without_options_the_run_is_the_recipe() -> None:
    options = parse(("train",), [])
    run: RunConfig = options.run
    assert run.content_hash("data") == default_run().content_hash("data")


@pytest.mark.parametrize("assignment", ["optim", "=1", f"{'x' * 200}=1", "[" * 5000 + "=1"])
def test_a_set_that_assigns_nothing_is_refused(assignment: str) -> None:
    if assignment == "=1":
        assert main(["train", "--set", assignment, "--plan"]) == 2
        return
    with pytest.raises(InputError, match="FIELD=VALUE"):
        in_new_spelling(["train", "--set", assignment])


def test_the_note_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "base", "--print-config"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("is spelled") == 1
    assert "--scale base" in printed.err
