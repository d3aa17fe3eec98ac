"""Files at the top of the project agree with each other: versions, pins, hooks, the image."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def text_of(name: str) -> str:
    """The text of a file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def pins_of(name: str) -> dict[str, str]:
    """Package -> version, from a file of constraints; hashes and markers are left out."""
    pins = re.findall(r"^([\w.-]+)==([^\s;\\]+)", text_of(name), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}


def test_every_dependency_has_a_pin_that_fits() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = {
        *map(Requirement, PROJECT["dependencies"]),
        *(Requirement(one) for each in extras.values() for one in each),
    }
    pins = pins_of("constraints.txt")
    for requirement in wanted:
        if requirement.name == PROJECT["name"]:  # an extra that contains another one
            assert requirement.extras <= set(extras)
            continue
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin: run make constraints"
        assert requirement.specifier.contains(pin), f"{requirement} does not allow the pin {pin}: run make constraints"


def test_both_files_of_constraints_hold_the_same_pins() -> None:
    assert pins_of("constraints.txt") == pins_of("constraints-hashes.txt"), "run make constraints"


def test_every_pin_of_the_hashed_file_has_a_hash() -> None:
    blocks = re.split(r"\n(?=[a-zA-Z])", text_of("constraints-hashes.txt"))[1:]
    assert [block.split()[0] for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["version"]
    assert yaml.safe_load(text_of("CITATION.cff"))["version"] == version
    released = re.search(r"^## \[([\d.]+)\] - ", text_of("CHANGELOG.md"), re.MULTILINE)
    assert released is not None
    assert released.group(1) == version
    for name in ("Dockerfile", "docs/cluster.md"):
        tags = re.findall(r"shared-ris:(\d[\d.]*\d)", text_of(name))
        assert tags, f"{name} names no image"
        assert set(tags) == {version}, name


def test_hook_workflow_and_ci_run_the_same_targets() -> None:
    hooks = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    assert [(hook["entry"], hook["language"]) for hook in hooks] == [("make lint", "system")]
    steps = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"]["check"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert text_of(".ci/run").splitlines()[-1] == "make lint test"


def test_the_image_leaves_out_what_git_ignores_and_nothing_else() -> None:
    # Docker's patterns start at the root of the project; git's without a slash hold in every folder.
    in_every_folder = ("__pycache__", "*.pyc", "*.egg-info", ".pytest_cache", ".ruff_cache", ".mypy_cache")
    ignored = {line.strip("/") for line in text_of(".gitignore").splitlines()}
    left_out = {line for line in text_of(".dockerignore").splitlines() if not line.startswith("#")}
    assert left_out == {f"**/{name}" if name in in_every_folder else name for name in ignored}


def test_the_image_copies_files_that_exist_on_the_python_of_the_project() -> None:
    dockerfile = text_of("Dockerfile")
    for line in re.findall(r"^COPY (.*)$", dockerfile, re.MULTILINE):
        assert [name for name in line.split()[:-1] if not (ROOT / name).exists()] == []
    base = re.search(r"^FROM python:(\d+\.\d+)-", dockerfile, re.MULTILINE)
    assert base is not None
    assert PROJECT["requires-python"] == f">={base.group(1)}"
