"""The options that define a run and where it happens, shared by `sharedris train` and the sweeps.

They are the fields of `RunConfig` and `ExecutionConfig`. Two options decide where their defaults come from, and are
read first: the scale, and the sets that are trained on.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipeline.cli.common_options import CommonOptions
from pipeline.cluster.job_folder import refuse_package_folder
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.catalog import SETS, find_set, parse_split
from pipeline.object_store.address import runs_folder
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
    micro_batch_size: int | Literal["auto"] | None = None
    """Samples of one forward; gradients are accumulated (default: 14 for base and large, else all that a worker has of
    a step; auto: what the trace of a step says fits the device)."""
    where: tyro.conf.OmitArgPrefixes[ExecutionConfig] = field(default_factory=ExecutionConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=default_run)

    @property
    def runs(self) -> Path:
        """Root of the runs; of an object store its working folder on this machine."""
        return runs_folder(self.where.runs_root)


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
    refuse_package_folder(options.runs)
    chosen = where.micro_batch_size
    if isinstance(options.micro_batch_size, int):
        chosen = options.micro_batch_size
    for key, value in where.node_labels:
        _check_label(key, value)
    try:
        return replace(
            where,
            runs_root=str(options.runs),
            micro_batch_size=chosen,
            encoder_weights=_absolute(where.encoder_weights),
            dual_weights=_absolute(where.dual_weights),
            weights=tuple(_weights_of(*pair) for pair in where.weights),
        )
    except ValueError as error:
        raise InputError(str(error), "See --help for the options") from None


def fitted(options: RunOptions, execution: ExecutionConfig, configs: Iterable[RunConfig]) -> ExecutionConfig:
    """Return the execution with `--micro-batch-size auto` resolved: what fits the largest of the models.

    Raises:
        InputError: where nothing fits, and where the memory of the device is not known here.
    """
    if options.micro_batch_size != "auto":
        return execution
    from pipeline.cost.memory_plan import automatic_micro_batch

    size = min(automatic_micro_batch(config, execution) for config in configs)
    print(f"--micro-batch-size auto: {size} samples a forward")
    return replace(execution, micro_batch_size=size)


def _check_label(key: str, value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][\w./-]{0,300}", key) or not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,62}", value):
        raise InputError(
            f"--node-label {key}={value} is not KEY=VALUE", "Write ray.io/accelerator-type=A100, for example"
        )


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _weights_of(encoder: str, path: str) -> tuple[str, str]:
    """Return an encoder and the absolute path of the weights that it starts from."""
    others = [name for name in ENCODERS if name not in {DEFAULT_ENCODER, DUAL_ENCODER}]
    if encoder not in others or not path:
        raise InputError(f"--weights {encoder} {path} is not an encoder and its file", f"Encoders: {', '.join(others)}")
    return encoder, str(Path(path).resolve())
