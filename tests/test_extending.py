"""Every recipe of docs/extending.md, run as it stands on the page from a folder outside the project."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipeline.cli.main import main
from pipeline.records import RECORD_SCHEMA, read_table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
RECIPE = re.compile(r"<!-- example: (\S+) -->\n```python\n(.*?)```\n(?:\n```bash\n(.*?)```)?", re.DOTALL)
RECIPES = {name: (code, (commands or "").splitlines()) for name, code, commands in RECIPE.findall(PAGE.read_text())}
MOST_LINES = 30
SMALL = ["--set", 'model.fpn={"stages":[1,2]}', "--set", 'model.encoder={"layers":2}', "--device", "cpu"]
SMALL += ["--epochs", "1", "--global-batch-size", "8", "--runs", "runs"]
VARIANTS = {
    "gated.py": {"beit3|fpn=gated(1,2)|decoder=gated(1)", "beit3|fpn=gated(1,2)|decoder=self_attention(1)"},
    "bag_of_words.py": {"bag+of+words|fpn=self_attention(1,2)|decoder=self_attention(1)"},
    "mean_fpn.py": {"beit3|fpn=mean(1,2)|decoder=self_attention(1)"},
    "dot_decoder.py": {"beit3|fpn=self_attention(1,2)|decoder=dot(1)"},
    "pixels.py": {"beit3|whole=pixels"},
    "focal.py": {"beit3|fpn=self_attention(1,2)|decoder=self_attention(1)"},
}


def lines_of_code(code: str) -> int:
    """The lines of a recipe that are neither empty nor its docstring."""
    return sum(bool(line.strip()) and not line.startswith('"""') for line in code.splitlines())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> Path:
    """An empty folder outside the project, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, prepared: Path) -> int:
    """Run a command of the page; a training is as small as it can be."""
    words = shlex.split(line)
    assert words[0] == "sharedris"
    small = [*SMALL, "--prepared", str(prepared)] if words[1] == "train" else []
    return main([words[1], *small, *words[2:]])


def test_the_page_has_a_recipe_for_every_test() -> None:
    assert {*VARIANTS, "boxes.py"} <= {*RECIPES}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short(name: str) -> None:
    assert lines_of_code(RECIPES[name][0]) <= MOST_LINES


@pytest.mark.parametrize("name", VARIANTS)
def test_recipe_runs(name: str, folder: Path, toy_root: Path) -> None:
    code, commands = RECIPES[name]
    (folder / name).write_text(code)
    assert commands
    for line in commands:
        assert f"--plugin {name}" in line
        assert run(line, toy_root) == 0, line
    rows = pd.concat([read_table(path, RECORD_SCHEMA) for path in (folder / "runs" / "records").iterdir()])
    assert {*rows["variant"]} == VARIANTS[name]
    assert {key for text in rows["plugins_json"] for key in json.loads(text)} == {Path(name).stem}
    assert rows["miou"].notna().all()


def test_recipe_runs_boxes(folder: Path, toy_root: Path, capsys: pytest.CaptureFixture) -> None:
    code, commands = RECIPES["boxes.py"]
    (folder / "boxes.py").write_text(code)
    rows = []
    for split in ("train", "val"):
        Image.new("RGB", (60, 40), "teal").save(folder / f"{split}.png")
        rows += [f"{split}.png,{split},the {side} box,{x},4,20,30" for side, x in (("left", 2), ("right", 34))]
    (folder / "boxes.csv").write_text("\n".join(["image,split,expression,x,y,width,height", *rows]))
    assert [run(line, toy_root) for line in commands] == [0, 0]
    assert (folder / "prepared" / "mine" / "dataset.json").is_file()
    assert "train" in capsys.readouterr().out


def test_an_unknown_reader_is_named(folder: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["prepare", "custom", "--reader", "boxs", "--annotations", "boxes.csv", "--set", "mine"]
    (folder / "boxes.py").write_text(RECIPES["boxes.py"][0])
    assert main([*words, "--plugin", "boxes.py"]) == 2
    assert "unknown reader 'boxs', did you mean 'boxes'?" in capsys.readouterr().err
