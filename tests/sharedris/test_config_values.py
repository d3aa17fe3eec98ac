"""Values from outside are what their annotation says, or they are refused by the name of their field."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest

from sharedris.config import from_dict
from sharedris.config_values import checked_value, require_component
from sharedris.scales import SCALES


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (bool, "False"),
        (bool, 0),
        (int, 1.5),
        (int, "3"),
        (int, True),
        (float, "0.1"),
        (float, math.nan),
        (float, math.inf),
        (Literal["cosine", "constant"], "Constant"),
        (tuple[int, ...], "612"),
        (tuple[int, ...], [6, 12.0]),
        (tuple[float, float], [0.9]),
        (str, None),
        (int | None, "none"),
        (int, {"a": 1}),
        (float, object()),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_name_of_its_field(annotation: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^part\.field: "):
        checked_value(annotation, value, "part.field")


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (bool, False, False),
        (float, 1, 1),
        (int | None, None, None),
        (tuple[int, ...], [6, 12], (6, 12)),
        (tuple[tuple[int, int], ...], [[1, 2], [3, 4]], ((1, 2), (3, 4))),
        (tuple[float, float], [0, 0.98], (0, 0.98)),
    ],
)
def test_a_good_value_is_kept_and_lists_become_tuples(annotation: Any, value: Any, expected: Any) -> None:
    checked = checked_value(annotation, value, "field")
    assert checked == expected
    assert type(checked) is type(expected), "an int in a float field would change the run's id if it became a float"


def test_the_message_of_a_long_value_is_short() -> None:
    with pytest.raises(ValueError, match="field: ") as refused:
        checked_value(int, "9" * 6000, "field")
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["../../x", "a/b", "", ".", "..", "-rf", ".hidden", "a b", "a\nb", "x" * 101, "a\0"])
def test_a_name_that_becomes_a_folder_is_one_safe_component(name: str) -> None:
    with pytest.raises(ValueError, match=r"^model\.scale: "):
        require_component(name, "model.scale")
    with pytest.raises(ValueError, match=r"model\.scale: "):
        SCALES["tiny"](scale=name)


@pytest.mark.parametrize("name", ["toyplus_unc", "refcoco+_unc", "tiny", "my-set.v2"])
def test_names_in_use_are_safe_components(name: str) -> None:
    require_component(name, "field")


@pytest.mark.parametrize("values", [[], "text", 3, None])
def test_a_config_that_holds_no_fields_is_refused(values: Any) -> None:
    from pipeline.config import RunConfig

    with pytest.raises(ValueError, match="must hold named fields"):
        from_dict(RunConfig, values)


@pytest.mark.parametrize(
    "assignment",
    [
        "optim.schedule=Constant",
        "optim.warmup_steps=1.5",
        "optim.warmup_steps=-1",
        "optim.weight_decay=-0.1",
        "optim.weight_decay=NaN",
        "optim.learning_rate=1e400",
        "optim.betas=[0.9]",
        "optim.betas=[0.9, 1.0]",
        "train.epochs=1.5",
        "train.epochs=true",
        "train.max_samples_per_epoch=0",
        "train.loss.bce=-1",
        "model.scale=../../x",
        "model.encoder.heads=0",
        "model.encoder.layers=100000",
        "model.encoder.patch_size=0",
        "model.fpn=3",
        "model.grid=3",
        "evaluation.threshold=7",
        "evaluation.threshold=NaN",
        "evaluation.batch_size=0",
        "seed=-1",
        "seed=" + "9" * 6000,
        f"train.epochs={2**63}",
        f"model.fpn.stages=[{2**70}]",
        'data.train_sets=["toyplus_unc", "toyplus_unc"]',
        'model.fpn={"fusion": {"options": [["a", 1], ["a", 2]]}}',
        "data.evaluate_splits=[3]",
    ],
)
def test_the_command_line_refuses_what_the_annotation_does_not_allow(
    assignment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    field = assignment.split("=", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1]
    refused_on_the_command_line(["--set", assignment], capsys, "fusion" if "options" in assignment else field)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seed", str(2**63)], "seed"),
        (["--seed", "-1"], "seed"),
        (["--epochs", str(2**70)], "train.epochs"),
        (["--micro-batch-size", str(2**31)], "micro_batch_size"),
        (["--workers", str(2**70)], "workers"),
        (["--data", "../x"], "data.train_sets"),
        (["--data", "toyplus_unc,toyplus_unc"], "data.train_sets"),
        (["--evaluate", "toyplus_unc/val,toyplus_unc/val"], "data.evaluate_splits"),
        (["--gflops", "nan"], "--gflops"),
        (["--gflops", "-5"], "--gflops"),
    ],
)
def test_options_are_checked_as_their_fields_are(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused_on_the_command_line(options, capsys, named)


def refused_on_the_command_line(options: list[str], capsys: pytest.CaptureFixture[str], named: str) -> None:
    from pipeline.cli.main import main
    from pipeline.cli.old_spellings import in_new_spelling

    words, _ = in_new_spelling(["train", "--plan", *options])
    assert main(words) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert named.replace("_", "-") in lines[0].replace("_", "-"), "the field is named"
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert len(lines[0]) < 600


def test_no_seeds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from sweeps.__main__ import main

    for seeds in ("0", "-1", "1.5"):
        assert main(["plan", "fpn", "--seeds", seeds]) == 2
        assert "--seeds" in capsys.readouterr().err


def test_a_sweep_file_with_a_value_of_another_type_is_refused() -> None:
    from pipeline.recipes import default_run
    from sweeps.spec import fpn

    with pytest.raises(ValueError, match=r"model\.fpn\.multiway_projection: "):
        fpn(multiway_projection="no").apply(default_run())
