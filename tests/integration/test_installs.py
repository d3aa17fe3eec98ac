"""Each extra, installed into an empty environment, runs its smallest job, and brings nothing of the others.

The packages come from the index or from uv's cache: the first time takes minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.job import resolve_job
from pipeline.run import run_in_process
from tests.pipeline.test_added_splits import PROVENANCE
from tests.reports import synthetic_runs

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MICRO = [
    *("--model.fpn.stages", "1", "2", "--model.encoder.layers", "2", "--model.encoder.image-size", "32"),
    *("--epochs", "1", "--global-batch-size", "6", "--train.max-samples-per-epoch", "6", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installer that `make constraints` uses; it links packages from its cache in place of copying gigabytes."""
    own = ROOT / "build" / "uv" / "bin" / "uv"
    if own.exists():
        return own
    place = tmp_path_factory.mktemp("uv")
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-qq", "uv"], check=True)
    return place / "bin" / "uv"


def install(uv: Path, place: Path, extra: str) -> Path:
    """Return the folder of programs of an environment with this project, copied without its `.git`, and one extra."""
    source = place / "source"
    source.mkdir(parents=True)
    for folder in ("sharedris", "pipeline", "sweeps", "reports"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    environment = place / "environment"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, environment], check=True)
    wanted = f"{source}[{extra}]" if extra else str(source)
    command = [uv, "pip", "install", "-q", "--python", environment, "-c", ROOT / "constraints.txt", wanted]
    subprocess.run(command, check=True)
    return environment / "bin"


def run(programs: Path, *words: str, cwd: Path) -> str:
    """Return what a command of the environment prints; the working folder is not that of the project."""
    done = subprocess.run([programs / words[0], *words[1:]], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(programs: Path, cwd: Path) -> set[str]:
    """The names of the packages of an environment."""
    code = "from importlib.metadata import distributions as d; print(*{x.name.lower().replace('_', '-') for x in d()})"
    return set(run(programs, "python", "-c", code, cwd=cwd).split())


@pytest.fixture(scope="module")
def trained(micro_run: RunConfig, toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with one trained model."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    execution = ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(runs))
    torch.manual_seed(0)
    run_in_process(resolve_job(micro_run, execution, provenance=PROVENANCE))
    return runs


def test_the_model_alone(uv: Path, trained: Path, tmp_path: Path) -> None:
    programs = install(uv, tmp_path, "")
    assert not installed(programs, tmp_path) & {"ray", "mlflow", "pandas", "pyarrow", "fvcore", "pycocotools", "scipy"}
    (model,) = (trained / "models").iterdir()
    Image.new("RGB", (48, 40), "white").save(tmp_path / "image.png")
    printed = run(programs, "sharedris", "predict", "image.png", "red circle", "--run", str(model), cwd=tmp_path)
    assert "% of the image: red circle" in printed
    code = f"from sharedris import Predictor; print(Predictor.from_run({str(model)!r}).threshold)"
    assert float(run(programs, "python", "-c", code, cwd=tmp_path)) > 0
    missing = subprocess.run(
        [programs / "sharedris", "runs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert missing.returncode == 2
    assert "pip install '.[train]'" in missing.stderr
    assert len(missing.stderr.splitlines()) == 1


def test_the_report(uv: Path, tmp_path: Path) -> None:
    programs = install(uv, tmp_path, "report")
    assert not installed(programs, tmp_path) & {"ray", "mlflow", "onnx"}
    synthetic_runs.write_runs(tmp_path / "runs")
    printed = run(programs, "sharedris", "report", "VII-a", "--data", "toyplus_unc", "--split", "val", cwd=tmp_path)
    assert "Table VII(a)" in printed


def test_training(uv: Path, toy_root: Path, tmp_path: Path) -> None:
    programs = install(uv, tmp_path, "train")
    assert "onnx" not in installed(programs, tmp_path)
    run(programs, "sharedris", "train", "--prepared", str(toy_root), *MICRO, cwd=tmp_path)
    assert "done" in run(programs, "sharedris", "runs", cwd=tmp_path)


def test_exports(uv: Path, trained: Path, toy_root: Path, tmp_path: Path) -> None:
    programs = install(uv, tmp_path, "export")
    assert not installed(programs, tmp_path) & {"ray", "mlflow"}
    (model,) = (trained / "models").iterdir()
    words = ["--format", "onnx", "--out", "model.onnx", "--samples", "4", "--runs", str(trained)]
    printed = run(programs, "sharedris", "export", model.name, *words, "--prepared", str(toy_root), cwd=tmp_path)
    assert "wrote model.onnx" in printed


JOBS = {
    "dev": ("python", "-m", "pytest", "-q", "test_one.py"),
    "store": ("python", "-c", "from obstore.store import MemoryStore; print(MemoryStore())"),
    "cluster": ("ray", "--version"),
    "docs": ("mkdocs", "build", "-q", "--strict"),
}


@pytest.mark.parametrize("extra", JOBS)
def test_the_tools(extra: str, uv: Path, tmp_path: Path) -> None:
    programs = install(uv, tmp_path, extra)
    (tmp_path / "test_one.py").write_text("def test_one():\n    import mypy, pandas, ray\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: one\ntheme: material\nplugins: [search, mkdocstrings]\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# One\n")
    run(programs, *JOBS[extra], cwd=tmp_path)
    assert ("pandas" in installed(programs, tmp_path)) == (extra == "dev"), "only dev brings what others need"


def test_every_extra_is_tried() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) == {*JOBS, "train", "report", "export"}
