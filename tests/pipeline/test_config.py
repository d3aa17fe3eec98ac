"""Identity: what changes a run's hash and what does not; errors that name the field."""

import json
from dataclasses import replace

import pytest

from pipeline.config import ExecutionConfig, RunConfig, TrainConfig, replace_at
from pipeline.recipes import default_run
from sharedris.baselines.config import ComparedFpnConfig
from sharedris.config import from_dict, to_dict
from sharedris.errors import InputError
from sharedris.scales import SCALES


@pytest.mark.parametrize("scale", SCALES)
def test_a_config_survives_json(scale: str) -> None:
    config = default_run(scale=scale)
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_everything_that_decides_the_result_is_in_the_hash() -> None:
    config = default_run()
    changed = {
        "seed": replace(config, seed=1),
        "model": replace_at(config, "model.fpn.stages", (6, 12)),
        "recipe": replace_at(config, "optim.learning_rate", 2e-3),
        "batch": replace_at(config, "train.global_batch_size", 8),
        "threshold": replace_at(config, "evaluation.threshold", 0.5),
        "weights": replace_at(config, "train.encoder_weights_sha256", "0" * 64),
    }
    hashes = {name: other.content_hash("data") for name, other in changed.items()}
    hashes |= {"same": config.content_hash("data"), "other data": config.content_hash("other")}
    assert len(set(hashes.values())) == len(hashes)


def test_the_recipe_leaves_out_the_ablated_modules_and_the_seed_alone() -> None:
    config = default_run()
    same = replace_at(replace(config, seed=7), "model.fpn", ComparedFpnConfig(kind="none", stages=()))
    assert same.recipe("data") == config.recipe("data")
    assert replace_at(config, "train.epochs", 6).recipe("data") != config.recipe("data")


def test_where_a_run_happens_is_not_in_the_config() -> None:
    assert not set(vars(ExecutionConfig())) & set(vars(RunConfig()))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("model.fpn.stages", (3, 13), "fpn.stages: stage 13 of an encoder with 12 layers"),
        ("model.fpn.stages", (6, 3), "fpn.stages"),
        ("train.epochs", 0, "train.epochs"),
        ("optim.learning_rate", -1.0, "optim.learning_rate"),
        ("data.evaluate_splits", ("refcoco",), "data.evaluate_splits"),
        ("model.fpn.kindd", "none", "kindd"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_field(path: str, value: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace_at(default_run(), path, value)


def test_an_unknown_field_in_a_stored_config_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown field"):
        from_dict(TrainConfig, {"epochs": 3, "epoch": 3})


def test_an_unknown_scale_is_the_users_error() -> None:
    with pytest.raises(InputError, match="huge"):
        default_run(scale="huge")
