"""Every recipe of docs/extending.md, run as it stands on the page from a folder outside the project."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.cli.main import main
from pipeline.data.prepared.manifest import load_manifest
from pipeline.data.prepared.split_table import read_split
from pipeline.evaluation.metrics import record_schema
from pipeline.evaluation.sample_columns import sample_schema
from pipeline.records import RECORD_SCHEMA, read_table, samples_path
from reports.__main__ import main as main_of_reports
from reports.cost_cells import CostBook
from reports.figures import Album, _draw
from reports.load import load_costs, load_runs
from reports.registry import FIGURES, Plot, ReportData
from reports.run_selection import Wanted, select_runs
from sweeps.__main__ import main as main_of_sweeps
from tests.conftest import TOY
from tests.reports.synthetic_runs import NO_FPN, write_runs

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
RECIPE = re.compile(r"<!-- example: (\S+) -->\n```python\n(.*?)```\n(?:\n```bash\n(.*?)```)?", re.DOTALL)
RECIPES = {name: (code, (commands or "").splitlines()) for name, code, commands in RECIPE.findall(PAGE.read_text())}
MOST_LINES = 30
SMALL = ["--model.fpn.stages", "1", "2", "--model.encoder.layers=2", "--device", "cpu"]
SMALL += ["--epochs", "1", "--global-batch-size", "8", "--runs", "runs"]
ROWS = {
    "gated.py": 'fpn(kind="gated"), decoder(kind="gated")',
    "bag_of_words.py": 'system(encoder="bag_of_words")',
    "mean_fpn.py": 'fpn(kind="mean")',
    "dot_decoder.py": 'decoder(kind="dot")',
    "pixels.py": 'system(kind="pixels")',
    "focal.py": 'Change(part="train.loss", fields={"terms": (("focal", 2.0),)})',
}
"""What the row of a sweep changes to have the module, as the page says below its recipe of an ablation."""

SWEEP = """
from sweeps.spec import Change, Row, Sweep, decoder, fpn, system
SWEEPS = {{"own": Sweep(name="own", title="own", tables={{"own": (Row(label="mine", changes=({changes},)),)}})}}
"""
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
    assert {*VARIANTS, "boxes.py", "boxes_as_masks.py"} <= {*RECIPES}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short(name: str) -> None:
    assert lines_of_code(RECIPES[name][0]) <= MOST_LINES


@pytest.mark.parametrize("name", VARIANTS)
def test_recipe_runs(name: str, folder: Path, toy_root: Path) -> None:
    """One file runs the commands of the page and stands in a table: with a row of a sweep at its end."""
    code, commands = RECIPES[name]
    (folder / name).write_text(code + SWEEP.format(changes=ROWS[name]))
    assert commands
    for line in commands:
        assert f"--plugin {name}" in line
        assert run(line, toy_root) == 0, line
    rows = pd.concat([read_table(path, RECORD_SCHEMA) for path in (folder / "runs" / "records").iterdir()])
    assert {*rows["variant"]} == VARIANTS[name]
    assert {key for text in rows["plugins_json"] for key in json.loads(text)} == {Path(name).stem}
    assert rows["miou"].notna().all()
    assert main_of_reports(["own", "--plugin", name, "--runs", "runs"]) == 0
    table = pd.read_csv(folder / "runs" / "report" / "tables" / "own.csv")
    assert [*table["Row"]] == ["mine"]
    assert table.filter(like="mIoU").iloc[:, 0].notna().all()


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


def test_recipe_runs_boxes_as_masks(folder: Path, toy_root: Path) -> None:
    code, (line,) = RECIPES["boxes_as_masks.py"]
    (folder / "boxes_as_masks.py").write_text(code)
    sentences = [
        each for row in read_split(load_manifest(toy_root, TOY), "val")["sent_ids"].to_pylist() for each in row
    ]
    (folder / "lavt.boxes").write_text("".join(f"{each} 2 3 20 10\n" for each in sentences))
    assert main([*shlex.split(line)[1:], "--prepared", str(toy_root), "--runs", "runs"]) == 0
    (path,) = (folder / "runs" / "records").iterdir()
    record = read_table(path, record_schema())
    assert record["samples"].tolist() == [len(sentences)]
    assert {*json.loads(record["plugins_json"][0])} == {"boxes_as_masks"}
    masks = read_table(samples_path(folder / "runs", path.stem, f"{TOY}/val"), sample_schema())
    predicted = masks["union_original"] + masks["intersection_original"] - masks["target_area_original"]
    assert (predicted == 200).all()


def train(folder: Path, prepared: Path, *more: str) -> pd.DataFrame:
    """Train the smallest run, with more options, and return the rows of its record."""
    before = {*(folder / "runs" / "records").glob("*.parquet")}
    assert main(["train", *SMALL, "--prepared", str(prepared), *more]) == 0
    (path,) = {*(folder / "runs" / "records").iterdir()} - before
    return read_table(path, record_schema())


def test_recipe_runs_mine(folder: Path, toy_root: Path, capsys: pytest.CaptureFixture) -> None:
    """The rows of the sweep are trained one by one here, which gives the same runs as `sweeps run` under Ray."""
    code, commands = RECIPES["mine.py"]
    (folder / "mine.py").write_text(code)
    plugin = ["--plugin", "mine.py"]
    assert main_of_reports(["mine", "--runs", "runs", *plugin]) != 0, "a table of no runs is refused"
    for change in ([], ["--model.fpn.kind=mean_text"]):
        train(folder, toy_root, *change, *plugin)
    capsys.readouterr()
    where = [*SMALL, "--prepared", str(toy_root)]
    assert main_of_sweeps(["status", "mine", *plugin, *where]) == 0
    assert capsys.readouterr().out.count("done") >= 2
    words = shlex.split(commands[1])
    assert words[:2] == ["sharedris", "report"]
    assert main_of_reports([*words[2:], "--runs", "runs"]) == 0
    table = pd.read_csv(folder / "runs" / "report" / "tables" / "mine.csv")
    assert [*table["Row"]] == ["self-attention", "mean of the text"]
    assert {suffix: (folder / "runs/report/tables" / f"mine.{suffix}").is_file() for suffix in ("md", "tex", "html")}
    assert table.filter(like="oIoU").iloc[:, 0].notna().all()


def test_recipe_runs_strict(folder: Path, toy_root: Path) -> None:
    code, (command,) = RECIPES["strict.py"]
    (folder / "strict.py").write_text(code)
    rows = train(folder, toy_root, *shlex.split(command)[2:])
    assert {*rows["protocol"]} == {"paper", "original", "input", "strict"}
    of = {name: rows[rows["protocol"] == name].iloc[0] for name in ("original", "strict")}
    assert of["strict"]["samples"] == of["original"]["samples"]
    samples = pd.read_parquet(next((folder / "runs" / "samples").rglob("*.parquet")))
    assert of["strict"]["miou"] == pytest.approx(samples["iou_strict"].mean())


def test_recipe_runs_large_objects(folder: Path, toy_root: Path, capsys: pytest.CaptureFixture) -> None:
    code, (command, rescore) = RECIPES["large_objects.py"]
    (folder / "large_objects.py").write_text(code)
    old = train(folder, toy_root, "--optim.weight-decay=0.1")
    assert "large_miou" not in old
    rows = train(folder, toy_root, *shlex.split(command)[2:])
    samples = pd.read_parquet(next((folder / "runs" / "samples" / rows["run_id"].iloc[0]).rglob("*.parquet")))
    large = samples[samples["area_ratio"] > 0.05]
    original = rows[rows["protocol"] == "original"].iloc[0]
    assert original["large_miou"] == pytest.approx(large["iou_original"].mean())
    assert main([*shlex.split(rescore)[1:], "--runs", "runs", "--prepared", str(toy_root)]) == 0
    (old_id,) = {*old["run_id"]}
    assert f"{old_id}: added metric large_miou" in capsys.readouterr().out
    scored = read_table(folder / "runs" / "records" / f"{old_id}.parquet", record_schema())
    assert scored["large_miou"].notna().all()
    assert [*scored["miou"]] == [*old["miou"]]


def test_recipe_runs_by_seed(folder: Path) -> None:
    """The table and the plot alone; `test_recipe_runs_by_seed_on_the_page` makes the whole report."""
    code, (command, _) = RECIPES["by_seed.py"]
    (folder / "by_seed.py").write_text(code)
    assert main_of_reports([*shlex.split(command)[2:], "--runs", "runs"]) == 1, "no records"
    (run_id,) = write_runs(folder / "runs", {NO_FPN: 0.0})
    assert main_of_reports([*shlex.split(command)[2:], "--runs", "runs"]) == 0
    table = pd.read_csv(folder / "runs" / "report" / "tables" / "by_seed.csv")
    assert [*table["Run"]] == [run_id]
    assert table["mIoU (%)"].between(0, 100).all()
    album, data = Album(folder), report_data(folder / "runs")
    album.group("own", "own")
    _draw(album, "by_seed", FIGURES["by_seed"], data)
    assert not data.problems
    assert (folder / "by_seed.svg").is_file()


@pytest.mark.slow
def test_recipe_runs_by_seed_on_the_page(folder: Path) -> None:
    code, (_, command) = RECIPES["by_seed.py"]
    (folder / "by_seed.py").write_text(code)
    write_runs(folder / "runs", {NO_FPN: 0.0})
    assert main_of_reports([*shlex.split(command)[2:], "--runs", "runs"]) == 0
    page = (folder / "runs" / "report" / "index.html").read_text()
    assert "mIoU over the seed" in page
    assert "Every run" in page
    assert (folder / "runs" / "report" / "figures" / "by_seed.svg").is_file()


def report_data(root: Path) -> ReportData:
    """What a plot of the no-FPN run gets."""
    runs, (costs, _) = load_runs(root), load_costs(root)
    choice = select_runs(runs.records, runs.claims, [NO_FPN], Wanted(), any_sets=True)
    return ReportData(runs=runs, choice=choice, costs=CostBook(costs))


BROKEN = """
from reports.registry import Plot
FIGURES = {"broken": Plot(title="Broken", draw=lambda data: 1 / 0)}
TABLES = {NAME: lambda runs, wanted: 1 / 0}
"""


@pytest.mark.parametrize(
    ("what", "name", "code", "said"),
    [
        (
            "mine",
            "mine",
            2,
            "sharedris report tables: table 'mine' of a plugin cannot be made: ZeroDivisionError: division by zero",
        ),
        ("VII-a", "fpn", 2, "sharedris report tables: TABLES of a plugin has 'fpn', which means something else here"),
    ],
)
def test_a_broken_table_is_one_line(
    what: str, name: str, code: int, said: str, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "broken.py").write_text(BROKEN.replace("NAME", repr(name)))
    assert main_of_reports([what, "--runs", "runs", "--plugin", "broken.py"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


def test_a_broken_figure_is_a_line_and_the_others_are_drawn(tmp_path: Path) -> None:
    write_runs(tmp_path, {NO_FPN: 0.0})
    album, data = Album(tmp_path), report_data(tmp_path)
    album.group("own", "own")
    for name, draw in (("broken", lambda data: 1 / 0), ("whole", lambda data: Figure(figsize=(1, 1)))):
        _draw(album, name, Plot(title=name, draw=draw), data)
    assert data.problems == ["plot broken cannot be drawn: ZeroDivisionError: division by zero"]
    assert [picture.name for picture in album.groups[0].pictures] == ["whole"]


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_recipe_runs_under_ray(folder: Path, toy_root: Path) -> None:
    """Two workers per run load the plugin from the job, not from the driver's folder."""
    code, (command, _) = RECIPES["mine.py"]
    (folder / "mine.py").write_text(code)
    words = shlex.split(command)
    assert words[:4] == ["sharedris", "sweep", "run", "mine"]
    line = [sys.executable, "-m", "pipeline.cli.main", *words[1:], *SMALL, "--prepared", str(toy_root)]
    clean = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    done = subprocess.run(line, env=clean, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    paths = [*(folder / "runs" / "records").iterdir()]
    rows = pd.concat([read_table(path, RECORD_SCHEMA) for path in paths])
    assert len(paths) == 2
    assert {*rows["world_size"]} == {2}
    assert {"beit3|fpn=mean_text(1,2)|decoder=self_attention(1)"} < {*rows["variant"]}
    assert {key for text in rows["plugins_json"] for key in json.loads(text)} == {"mine"}


def test_an_unknown_reader_is_named(folder: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["data", "prepare", "custom", "--reader", "boxs", "--annotations", "boxes.csv", "--data", "mine"]
    (folder / "boxes.py").write_text(RECIPES["boxes.py"][0])
    assert main([*words, "--plugin", "boxes.py"]) == 2
    assert "unknown reader 'boxs', did you mean 'boxes'?" in capsys.readouterr().err
