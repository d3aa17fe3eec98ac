"""Every script of examples/ runs, and is listed."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from PIL import Image

from pipeline.cli.main import main
from pipeline.data.prepared.manifest import load_manifest
from pipeline.recipes import default_run
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import save_model
from sweeps.registry import find_sweep
from sweeps.spec import cells_of
from tests.conftest import TOY

EXAMPLES = Path(__file__).parent.parent / "examples"
RECORDS = Path(__file__).parent / "golden" / "records" / "v1"


def example(name: str) -> dict[str, object]:
    """What a script defines; its command is not run."""
    return runpy.run_path(str(EXAMPLES / name))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts write into the current folder."""
    monkeypatch.chdir(tmp_path)


def test_the_readme_lists_every_script() -> None:
    text = (EXAMPLES / "README.md").read_text()
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert len(scripts) == 5
    assert {name for name in scripts if f"`{name}" in text} == scripts


def test_predict(
    toy_root: Path, micro_model: ComparedModelConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(
        tmp_path / "m", build_model(micro_model), micro_model, load_manifest(toy_root, TOY).tokenizer_path, 0.5, "m"
    )
    Image.new("RGB", (40, 30), "gray").save("photo.png")
    example("predict.py")["main"](str(tmp_path / "m"), "photo.png", "the red circle")
    assert "% of the picture is 'the red circle': mask.png" in capsys.readouterr().out
    with Image.open("mask.png") as mask:
        assert mask.size == (40, 30)


def test_own_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("own_data.py")["main"](str(tmp_path / "data"))
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:3]] == [
        ["train", "1", "1", "2"],
        ["val", "1", "1", "2"],
    ]
    assert load_manifest(tmp_path / "data", "mine").splits.keys() == {"train", "val"}


def test_own_ablation() -> None:
    sweep = find_sweep(str(EXAMPLES / "own_ablation.py"))
    cells = cells_of(sweep, lambda seed, _: default_run(seed=seed), (0,))
    assert [cell.names[0] for cell in cells] == [
        "own/as it is",
        "own/one stage",
        "own/two decoder layers",
        "own/slower",
    ]


def test_score_masks(toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example("score_masks.py")["main"](TOY, "val", str(toy_root), str(tmp_path / "runs")) == 0
    assert "original" in capsys.readouterr().out
    assert main(["runs", "--runs", str(tmp_path / "runs")]) == 0
    assert "upper-half" in capsys.readouterr().out


def test_read_records(capsys: pytest.CaptureFixture[str]) -> None:
    example("read_records.py")["main"](str(RECORDS))
    assert "toyplus_unc/val" in capsys.readouterr().out
