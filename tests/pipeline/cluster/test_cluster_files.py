"""The launcher's and KubeRay's files fit their published schemas, and name the image and versions of the project."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from pipeline.cli.commands import find_command
from pipeline.cli.old_spellings import in_new_spelling
from pipeline.cli.parsing import parse

ROOT = Path(__file__).parents[3]
IMAGE = f"YOUR_REGISTRY/shared-ris:{tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['version']}"


def launcher() -> tuple[Any, Any]:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    return yaml.safe_load((ROOT / "docs/ray-cluster.yaml").read_text()), schema


def kuberay() -> tuple[Any, Any]:
    schema = json.loads((ROOT / "tests/golden/kuberay_rayjob.schema.json").read_text())
    return yaml.safe_load((ROOT / "docs/kuberay-job.yaml").read_text()), schema


@pytest.mark.parametrize("file", [launcher, kuberay])
def test_a_file_fits_its_schema(file: Any) -> None:
    values, schema = file()
    jsonschema.validate(values, schema)
    assert IMAGE in json.dumps(values)
    values["surplus"] = 1
    with pytest.raises(jsonschema.ValidationError, match="surplus"):
        jsonschema.validate(values, schema)


def test_the_schema_of_kuberay_finds_what_was_missing_once() -> None:
    values, schema = kuberay()
    (group,) = values["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    del group["maxReplicas"]
    with pytest.raises(jsonschema.ValidationError, match="maxReplicas"):
        jsonschema.validate(values, schema)


def test_the_entrypoint_is_a_command_of_ours_and_the_version_of_ray_is_the_pin() -> None:
    spec = kuberay()[0]["spec"]
    program, *words = shlex.split(spec["entrypoint"])
    assert program == "sharedris"
    assert in_new_spelling(words) == (words, [])
    options = parse(*find_command(words))
    assert options.where.wait_for_resources == 30
    assert spec["rayClusterSpec"]["rayVersion"] == ray.__version__
