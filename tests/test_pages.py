"""The blocks of the pages: Python runs, JSON and TOML parse, shell is shell, and named modules exist.

Commands, links and file names are checked by tests/test_readme.py. Blocks after `<!-- example: -->` or `<!-- test: -->`
are run by the tests of their page (tests/test_extending.py and others).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import save_model
from sharedris.hub import SharedRis
from sharedris.pyfunc import _load_pyfunc
from tests.conftest import TOY
from tests.test_readme import PAGES, ROOT, shell_lines

BLOCK = re.compile(r"(<!-- (?:example|test): \S+ -->\n)?^( *)```(\w+)\n(.*?)^\2```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (str(page.relative_to(ROOT)), language, code, bool(marker))
    for page in PAGES
    for marker, _, language, code in BLOCK.findall(page.read_text())
]
MODULE = re.compile(r"python -m ([\w.]+)")
SCRIPT = re.compile(r"python ((?:benchmarks|examples)/\w+\.py)")
"""Pages name our own modules and scripts; `make` and `sharedris` are parsed by tests/test_readme.py."""


def blocks_of(language: str) -> list[tuple[str, str]]:
    """(page, code) of the blocks in a language that no other test runs."""
    return [(page, code) for page, found, code, marked in BLOCKS if found == language and not marked]


@pytest.fixture(scope="module")
def folder(toy_root: Path, micro_model: ComparedModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pages name: a photo, and a model as a run, as a folder and as a folder of a user."""
    root = tmp_path_factory.mktemp("pages")
    tokenizer = toy_root / TOY / "tokenizer.model"
    save_model(root / "runs/models/RUN", build_model(micro_model), micro_model, tokenizer, 0.35, "RUN")
    for copy in ("folder", "user/name"):
        shutil.copytree(root / "runs/models/RUN", root / copy)
    Image.new("RGB", (40, 30), "gray").save(root / "photo.jpg")
    return root


PYTHON = blocks_of("python")


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[f"{page}-{i}" for i, (page, _) in enumerate(PYTHON)])
def test_a_python_block_runs(page: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is uploaded, and MLflow's registry is the model's folder."""
    pushed: list[str] = []
    monkeypatch.chdir(folder)
    monkeypatch.setattr(SharedRis, "push_to_hub", lambda self, name: pushed.append(name))
    registry = SimpleNamespace(load_model=lambda uri: _load_pyfunc(str(folder / "folder")))
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(pyfunc=registry))
    exec(compile(code, page, "exec"), {})
    assert pushed == (["user/name"] if "push_to_hub" in code else [])


def test_pages_have_python_blocks() -> None:
    assert {page for page, _ in PYTHON} >= {
        "docs/model.md",
        "docs/export.md",
        "docs/mlflow.md",
        "docs/roles/first-hour.md",
    }


@pytest.mark.parametrize(("page", "code"), blocks_of("json"))
def test_a_json_block_is_json_lines(page: str, code: str) -> None:
    assert all(json.loads(line) for line in code.splitlines())


@pytest.mark.parametrize(("page", "code"), blocks_of("toml"))
def test_a_toml_block_parses(page: str, code: str) -> None:
    assert tomllib.loads(re.sub(r"^ +", "", code, flags=re.MULTILINE))


@pytest.mark.parametrize("page", sorted({page for page, _ in blocks_of("bash")}))
def test_a_shell_block_is_shell(page: str) -> None:
    text = "\n".join(code for name, code in blocks_of("bash") if name == page)
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def modules_and_scripts(text: str) -> list[str]:
    """The files of our own that a page runs by `python`."""
    ours = [name for name in MODULE.findall(text) if (ROOT / name.partition(".")[0]).exists()]
    return [*(name.replace(".", "/") for name in ours), *SCRIPT.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_module_that_is_run_exists(page: Path) -> None:
    for name in modules_and_scripts(page.read_text()):
        places = [ROOT / name, ROOT / f"{name}.py", ROOT / name / "__main__.py"]
        assert any(place.is_file() for place in places), f"{page.name} runs {name}, which does not exist"


def test_the_page_of_installation_has_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "docs" / "install.md").read_text()
    assert {*re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)} == {*extras}


def test_a_made_up_module_is_found() -> None:
    named = modules_and_scripts("python -m sweeps.made_up and python -m pip and python benchmarks/made_up.py")
    assert named == ["sweeps/made_up", "benchmarks/made_up.py"]


def test_blocks_are_found() -> None:
    page = "<!-- example: a.py -->\n```python\n1\n```\n\n- a list\n\n    ```toml\n    a = 1\n    ```\n"
    assert BLOCK.findall(page) == [
        ("<!-- example: a.py -->\n", "", "python", "1\n"),
        ("", "    ", "toml", "    a = 1\n"),
    ]
    assert "1" not in shell_lines(page)
