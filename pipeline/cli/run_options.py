"""The options that define a run and where it happens, shared by `sharedris train` and the sweeps.

They are the fields of `RunConfig` and `ExecutionConfig`. Two options decide where their defaults come from, and are
read first: the scale, and the sets that are trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.cli.common_options import CommonOptions
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.catalog import SETS, find_set, parse_split
from pipeline.files import runs_folder
from pipeline.recipes import DEFAULT_SET, default_run
from sharedris.baselines.config import DEFAULT_ENCODER, DUAL_ENCODER
from sharedris.config import from_dict, to_dict
from sharedris.errors import InputError
from sharedris.registry import ENCODERS


@dataclass(frozen=True, kw_only=True)
class RunOptions(CommonOptions):
    """A run: its scale and sets, where it happens, and each field of its config."""

    scale: str = "tiny"
    """Scale of the model, which decides the defaults below: tiny, base, large."""
    data: str = DEFAULT_SET
    """Prepared set to train on, or several joined by commas; val of each is evaluated."""
    where: tyro.conf.OmitArgPrefixes[ExecutionConfig] = field(default_factory=ExecutionConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=default_run)


@dataclass(frozen=True, kw_only=True)
class First:
    """What is read before the other options, since their defaults depend on it; None where it is not given."""

    scale: str | None
    data: str | None
    preset: str | None
    config: Path | None
    like: str | None
    runs: str | None


def read_first(words: Sequence[str]) -> First:
    """Return the words that decide the defaults of the others; a word without its value is left to the real reading."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("scale", "data", "preset", "like", "runs"):
        parser.add_argument(f"--{name}", nargs="?")
    parser.add_argument("--config", type=Path, nargs="?")
    found, _ = parser.parse_known_args(list(words))
    return First(**vars(found))


def starting_run(first: First) -> RunConfig:
    """Return the recipe of the scale on the sets.

    Raises:
        InputError: for a scale or a set that cannot be.
    """
    try:
        return default_run(scale=first.scale or "tiny", train_sets=tuple((first.data or DEFAULT_SET).split(",")))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error), "See --help for the options") from None


def checked_run(options: RunOptions) -> RunConfig:
    """Return the run that the options describe, its values checked as those of a record are.

    Raises:
        InputError: for a value that the config refuses; names the field.
    """
    try:
        config: RunConfig = from_dict(RunConfig, to_dict(options.run))
        _check_names(config, options.where.prepared_root)
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(str(error), "See --help for the options") from None
    if options.where.encoder_weights is not None:
        from pipeline.pretrained_ids import file_sha256

        sha256 = file_sha256(Path(options.where.encoder_weights))
        config = replace(config, train=replace(config.train, encoder_weights_sha256=sha256))
    return config


def _check_names(config: RunConfig, prepared_root: str) -> None:
    """Refuse sets and splits that do not exist or are not written in full.

    Raises:
        InputError: with the known names.
    """
    for name in config.data.train_sets:
        if name not in SETS and not (Path(prepared_root) / name).is_dir():
            find_set(name)
    for split in config.data.evaluate_splits:
        parse_split(split)


def checked_execution(options: RunOptions) -> ExecutionConfig:
    """Return where and on what the options say the run happens; the paths of weights are absolute.

    Raises:
        InputError: for a root that no run can have, or weights of an encoder that is not there.
    """
    where = options.where
    runs_folder(where.runs_root)
    return replace(
        where,
        encoder_weights=_absolute(where.encoder_weights),
        dual_weights=_absolute(where.dual_weights),
        weights=tuple(_weights_of(*pair) for pair in where.weights),
    )


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _weights_of(encoder: str, path: str) -> tuple[str, str]:
    """Return an encoder and the absolute path of the weights that it starts from."""
    others = [name for name in ENCODERS if name not in {DEFAULT_ENCODER, DUAL_ENCODER}]
    if encoder not in others:
        raise InputError(f"--weights {encoder} {path}: no such encoder", f"Encoders: {', '.join(others)}")
    return encoder, str(Path(path).resolve())
