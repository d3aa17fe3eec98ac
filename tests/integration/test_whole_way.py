"""The commands as a user types them: help, the way from annotations to a record, and bad input."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

import reports.__main__ as reports_command
import sweeps.__main__ as sweeps_command
from pipeline.cli.commands import COMMANDS
from pipeline.cli.main import main
from pipeline.data.synthetic.writer import write_synthetic

TOY = "toyplus_unc"
# A micro model by options alone, as a user would ask for it.
# The stages come first: an encoder of two layers has no stage 12.
MICRO = [
    *("--model.fpn.stages", "1", "2"),
    "--model.encoder.width=16",
    "--model.encoder.layers=2",
    "--model.encoder.heads=2",
    "--model.encoder.mlp-width=32",
    "--model.encoder.image-size=32",
    "--model.encoder.text-positions=32",
]
SMALL = ["--epochs", "1", "--global-batch-size", "6", "--train.max-samples-per-epoch=12"]


@pytest.fixture(scope="module")
def refer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest synthetic set in the REFER layout."""
    root = tmp_path_factory.mktemp("refer")
    write_synthetic(root, TOY, expressions=40, seed=3)
    return root


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert f"usage: sharedris {' '.join(command)} " in capsys.readouterr().out


def test_from_annotations_to_scores_and_back_to_the_model(
    refer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared, runs = str(tmp_path / "prepared"), str(tmp_path / "runs")
    assert main(["data", "prepare", "refer", "--root", str(refer), "--data", TOY, "--out", prepared]) == 0
    train = ["train", "--prepared", prepared, "--runs", runs, "--device", "cpu", *SMALL, *MICRO]
    assert main(train) == 0
    record = pd.read_parquet(tmp_path / "runs" / "records")
    assert sorted(record["protocol"]) == ["input", "original", "paper"]
    capsys.readouterr()
    assert main(train) == 0
    assert "is done already" in capsys.readouterr().out
    model = next((tmp_path / "runs" / "models").glob("*"))
    assert main(["evaluate", str(model), f"{TOY}/val", "--prepared", prepared, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    for _, row in record.iterrows():
        assert again[row["protocol"]]["oiou"] == row["oiou"]
        assert again[row["protocol"]]["miou"] == row["miou"]
    assert main(["runs", "--runs", runs]) == 0
    assert "done" in capsys.readouterr().out
    image = min((refer / "images").rglob("*.jpg"))
    overlay = tmp_path / "overlay.png"
    assert main(["predict", str(image), "the red circle", "--run", str(model), "--out", str(overlay)]) == 0
    assert overlay.stat().st_size > 0


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], *, sweep: bool = False) -> str:
    """Run a command that must be refused: exit code 2, one line, Ray not started."""
    code = sweeps_command.main(arguments) if sweep else main(arguments)
    printed = capsys.readouterr().err.strip()
    assert code == 2, printed
    assert len(printed.splitlines()) == 1, printed
    return printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "refcocog"], "Name it in full: refcocog_umd or refcocog_google"),
        (["--data", "toyplus_umd"], "unknown set"),
        (["--evaluate", "refcocog_google/test"], "the Google split never released its test part"),
        (["--evaluate", f"{TOY}/valid"], "has no split 'valid'"),
        (["--data", "toy_unc"], "not prepared"),
        (["--model.fpn.stages", "3", "13"], "stage 13 of an encoder with 12 layers does not exist"),
        (["--optim.learning-rat=1"], "Did you mean --optim.learning-rate?"),
        (["--global-batch-size", "100000"], "--global-batch-size"),
        (["--global-batch-size", "15", "--workers", "2"], "cannot be shared by 2 workers"),
        (["--encoder-weights", "nowhere.pth"], "nowhere.pth"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_anything_is_written(
    arguments: list[str], said: str, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    line = refused(["train", "--prepared", str(toy_root), "--runs", str(runs), *arguments], capsys)
    assert said in line
    assert not runs.exists()


@pytest.mark.parametrize(
    "command",
    [
        partial(main, ["train", "--runs", "ftp://bucket/runs"]),
        partial(main, ["runs", "--runs", "ftp://bucket/runs"]),
        partial(sweeps_command.main, ["plan", "fpn", "--runs", "ftp://bucket/runs"]),
        partial(sweeps_command.main, ["costs", "fpn", "--runs", "ftp://bucket/runs"]),
        partial(reports_command.main, ["all", "--runs", "ftp://bucket/runs"]),
    ],
    ids=["train", "runs", "sweeps plan", "sweeps costs", "reports"],
)
def test_a_url_of_no_object_store_is_refused_and_no_folder_is_named_like_it(
    command: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command() == 2
    assert "ftp://bucket/runs is neither a folder nor BUCKET/PREFIX of s3://" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_more_workers_than_cores_are_refused_before_ray(
    toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    options = ["--prepared", str(toy_root), "--runs", str(tmp_path / "runs"), "--workers", "40"]
    line = refused(["run", "fpn", *options, "--global-batch-size", "40"], capsys, sweep=True)
    assert "40 workers on a machine with" in line
    assert not (tmp_path / "runs" / "records").exists()


class Hostile:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("hostile-was-here"),))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no root", "is not a folder"),
        ("missing image", "missing"),
        ("broken image", "decode"),
        ("hostile pickle", "pathlib"),
        ("no annotations", "instances.json"),
    ],
)
def test_broken_annotations_are_refused_with_nothing_half_written(
    damage: str, said: str, refer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "refer", tmp_path / "prepared"
    if damage != "no root":
        shutil.copytree(refer, root)
        image = min((root / "images").rglob("*.jpg"))
        {
            "missing image": image.unlink,
            "broken image": lambda: image.write_bytes(image.read_bytes()[:200]),
            "hostile pickle": lambda: (root / "toyplus" / "refs(unc).p").write_bytes(pickle.dumps([Hostile()])),
            "no annotations": (root / "toyplus" / "instances.json").unlink,
        }[damage]()
    line = refused(["data", "prepare", "refer", "--root", str(root), "--data", TOY, "--out", str(out)], capsys)
    assert said in line.lower() or said in line
    assert not out.exists() or not files_below(out)
    assert not Path("hostile-was-here").exists()


def test_ray_is_not_imported_to_say_no(toy_root: Path) -> None:
    import subprocess

    program = (
        "import sys; from pipeline.cli.main import main; code = main(sys.argv[1:]); "
        "print(code, 'ray' in sys.modules, 'torch' in sys.modules)"
    )
    arguments = ["train", "--prepared", str(toy_root), "--data", "refcocog"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 False False"


def test_combined_training_records_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets, prepared, runs = ("toyplus_unc", "toyg_umd"), str(tmp_path / "prepared"), str(tmp_path / "runs")
    for name in sets:
        write_synthetic(tmp_path / "refer", name, expressions=40, seed=0)
    for name in sets:
        source = ["data", "prepare", "refer", "--root", str(tmp_path / "refer"), "--data", name, "--out", prepared]
        assert main([*source, "--tokenizer-sets", ",".join(sets)]) == 0
    train = ["train", "--prepared", prepared, "--runs", runs, "--device", "cpu", "--data", ",".join(sets)]
    assert main([*train, *SMALL, *MICRO]) == 0
    record = pd.read_parquet(tmp_path / "runs" / "records")
    assert sorted(set(record["split"])) == ["toyg_umd/val", "toyplus_unc/val"]
    left_out = json.loads(record.iloc[0]["left_out_json"])
    assert set(left_out) <= set(sets)
    assert sum(counts["expressions"] for counts in left_out.values()) > 0
    assert "held out elsewhere" in capsys.readouterr().out
