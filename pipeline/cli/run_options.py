"""The options that define a run and where it happens, shared by `sharedris train` and the sweeps."""

from __future__ import annotations

import argparse
import dataclasses
import json
import operator
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.cluster.job_folder import refuse_package_folder
from pipeline.config import ExecutionConfig, RunConfig, replace_at
from pipeline.data.catalog import SETS, find_set, parse_split
from pipeline.data.readers.field_values import shown
from pipeline.object_store.address import runs_folder
from pipeline.recipes import DEFAULT_SET, default_run
from sharedris.baselines.config import DEFAULT_ENCODER, DUAL_ENCODER
from sharedris.config import from_dict, to_dict
from sharedris.errors import InputError
from sharedris.registry import ENCODERS
from sharedris.scales import SCALES

AUTO = "auto"
"""Of `--micro-batch-size`: what the trace of a step says fits the device."""


class Given(argparse.Action):
    """Stores a value, and its name in `given`: a preset does not override what the user has set."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, *_: Any) -> None:
        """Store the value and the name."""
        setattr(namespace, self.dest, value)
        namespace.given = {*getattr(namespace, "given", ()), self.dest}


def positive_int(text: str) -> int:
    """Return a whole number above 0, for argparse.

    Raises:
        ValueError: for anything else.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a number above 0")
    return number


def node_label(text: str) -> tuple[str, str]:
    """Return key and value of a label, for argparse.

    Raises:
        ArgumentTypeError: for anything that is not KEY=VALUE.
    """
    found = re.fullmatch(r"([A-Za-z0-9][\w./-]{0,300})=([A-Za-z0-9][\w.-]{0,62})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as ray.io/accelerator-type=A100")
    return found[1], found[2]


def _micro_batch(text: str) -> int | str:
    return text if text == AUTO else int(text)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide a run's result."""
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--model", default="tiny", choices=list(SCALES), action=Given, help="scale of the model (default: %(default)s)"
    )
    group.add_argument(
        "--data",
        default=DEFAULT_SET,
        action=Given,
        help="prepared set, or several separated by commas (default: %(default)s)",
    )
    group.add_argument("--evaluate", help="splits with their set, separated by commas (default: val of each set)")
    group.add_argument("--epochs", type=int, help="default: 4 for tiny, else 35")
    group.add_argument("--global-batch-size", type=int, help="samples per optimizer step over all workers")
    group.add_argument("--precision", choices=["fp32", "bf16", "fp16"])
    group.add_argument("--encoder-weights", type=Path, help="BEiT-3 checkpoint to start from")
    group.add_argument("--dual-weights", type=Path, help="folder of import-dual with weights of Swin and BERT")
    group.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="ENCODER=FILE",
        help="weights that another encoder starts from: vilt=vit.safetensors (sharedris import-vit)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help='any config field: optim.learning_rate=2e-4, model.fpn={"stages":[6,12]}',
    )


def add_execution_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that do not change a run's result."""
    group = parser.add_argument_group("the machine and its folders")
    group.add_argument(
        "--workers",
        type=int,
        default=1,
        action=Given,
        help="DDP workers of a run, each on one CPU or GPU",
    )
    _add_cluster_arguments(group)
    group.add_argument(
        "--loader-workers",
        type=int,
        help="processes per worker that load data (default: 0 on CPUs; on GPUs 8, or the cores per GPU - 1)",
    )
    group.add_argument(
        "--micro-batch-size",
        type=_micro_batch,
        action=Given,
        metavar="N|auto",
        help="samples per forward; gradients are accumulated (default: 14 for base and large; auto: what fits)",
    )
    group.add_argument("--activation-checkpointing", action="store_true", help="less memory, more time per step")
    group.add_argument("--compile", action="store_true", help="use torch.compile: takes minutes before the first step")
    group.add_argument(
        "--checkpoint-every-epochs", type=positive_int, default=1, metavar="N", help="default: %(default)s"
    )
    group.add_argument(
        "--checkpoint-every-steps",
        type=positive_int,
        metavar="N",
        help="also within an epoch, for epochs that take hours",
    )
    group.add_argument(
        "--validate-every-epochs",
        type=positive_int,
        metavar="N",
        help="score the model while it trains; the result stays",
    )
    group.add_argument("--validate-every-steps", type=positive_int, metavar="N", help="also within an epoch")
    group.add_argument(
        "--validate-samples", type=positive_int, metavar="N", help="samples of the split (default: the whole split)"
    )
    group.add_argument("--validate-split", metavar="SPLIT", help="default: the first split that is evaluated")
    group.add_argument("--prepared", default="data/prepared", help="root of prepared sets (default: %(default)s)")
    group.add_argument(
        "--runs", type=runs_folder, default=Path("runs"), help="root of records, samples, models (default: %(default)s)"
    )


def _add_cluster_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--min-workers", type=int, metavar="N", help="elastic: continue with at least this many while nodes are lost"
    )
    group.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    group.add_argument("--accelerator-type", metavar="NAME", help="on a cluster: only GPUs of this kind (A100, H100)")
    group.add_argument(
        "--node-label",
        action="append",
        default=[],
        type=node_label,
        dest="node_labels",
        metavar="KEY=VALUE",
        help="on a cluster: only nodes with this label of Ray (`ray start --labels`)",
    )
    group.add_argument(
        "--wait-for-resources",
        type=float,
        metavar="MINUTES",
        help="on a cluster: how long to wait for nodes that start later (default: while an autoscaler starts them)",
    )


_LONGEST_FIELD = 100


def add_curve_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that gives recorded splits what a report's curve over the threshold needs."""
    parser.add_argument(
        "--threshold-curve",
        action="store_true",
        help="for recorded splits without them: store the counts over thresholds 0.05 .. 0.95 that a report's curve is "
        "drawn from, by evaluating the exported model again; the record stays as it is",
    )


def run_config(args: argparse.Namespace, *, seed: int = 0) -> RunConfig:
    """Return the run that the options describe.

    Raises:
        InputError: for a value that the config refuses; names the field.
    """
    changes: dict[str, object] = {
        "train.epochs": args.epochs,
        "train.global_batch_size": args.global_batch_size,
        "train.precision": args.precision,
        "data.evaluate_splits": tuple(args.evaluate.split(",")) if args.evaluate else None,
    }
    try:
        config = default_run(scale=args.model, train_sets=tuple(args.data.split(",")), seed=seed)
        for path, value in changes.items():
            if value is not None:
                config = replace_at(config, path, value)
        for assignment in args.set:
            config = _assign(config, assignment)
        _check_names(config, args.prepared)
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(str(error), "See --help for the options") from None
    if args.encoder_weights is not None:
        from pipeline.pretrained_ids import file_sha256

        config = replace_at(config, "train.encoder_weights_sha256", file_sha256(args.encoder_weights))
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


def _assign(config: RunConfig, assignment: str) -> RunConfig:
    path, equals, text = assignment.partition("=")
    if not equals or len(path) > _LONGEST_FIELD:
        raise InputError(f"--set {shown(assignment)} is not FIELD=VALUE", "For example --set optim.learning_rate=2e-4")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or a number or nesting that Python refuses: then it is text
        value = text
    if isinstance(value, dict):  # several fields of one part, set together
        part = operator.attrgetter(path)(config)
        value = from_dict(type(part), {**to_dict(part), **value}, f"{path}.")
    changed: RunConfig = replace_at(config, path, value)
    return changed


def execution_config(args: argparse.Namespace) -> ExecutionConfig:
    """Return where and on what the options say the run happens.

    Raises:
        InputError: for a value that the config refuses.
    """
    refuse_package_folder(Path(args.runs))
    names = {field.name for field in dataclasses.fields(ExecutionConfig)} & set(vars(args))
    if args.micro_batch_size == AUTO:  # only the model says what fits: `fitted`
        names -= {"micro_batch_size"}
    weights = {name: getattr(args, name, None) for name in ("encoder_weights", "dual_weights")}
    try:
        return ExecutionConfig(
            **{
                **{name: getattr(args, name) for name in names},
                "prepared_root": args.prepared,
                "node_labels": tuple(args.node_labels),
                "runs_root": str(args.runs),
                **{name: None if path is None else str(path.resolve()) for name, path in weights.items()},
                "weights": tuple(_weights_of(text) for text in args.weights),
            }
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error), "See --help for the options") from None


def fitted(args: argparse.Namespace, execution: ExecutionConfig, configs: Iterable[RunConfig]) -> ExecutionConfig:
    """Return the execution with `--micro-batch-size auto` resolved: what fits the largest of the models.

    Raises:
        InputError: where nothing fits, and where the memory of the device is not known here.
    """
    if args.micro_batch_size != AUTO:
        return execution
    from pipeline.cost.memory_plan import automatic_micro_batch

    size = min(automatic_micro_batch(config, execution) for config in configs)
    print(f"--micro-batch-size auto: {size} samples a forward")
    return dataclasses.replace(execution, micro_batch_size=size)


def _weights_of(text: str) -> tuple[str, str]:
    """Return the encoder and the absolute path that `--weights ENCODER=FILE` names."""
    encoder, _, path = text.partition("=")
    others = [name for name in ENCODERS if name not in {DEFAULT_ENCODER, DUAL_ENCODER}]
    if not path or encoder not in others:
        raise InputError(f"--weights {text} is not ENCODER=FILE", f"Encoders: {', '.join(others)}")
    return encoder, str(Path(path).resolve())
