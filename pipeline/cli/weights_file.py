"""What the commands that import an encoder's weights share: report, and the file they write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipeline.cli.import_options import ImportOptions
from pipeline.cli.machine_output import add_result
from pipeline.files import require_writable
from sharedris.baselines.config import ComparedModelConfig
from sharedris.errors import InputError
from sharedris.safetensors_file import write_safetensors
from sharedris.scales import SCALES
from sharedris.weight_import import ImportReport

E = TypeVar("E", bound=nn.Module)


def import_resized(
    options: ImportOptions,
    *,
    build: Callable[[ComparedModelConfig], E],
    load: Callable[[E, Path], ImportReport],
    official: Callable[[E], Mapping[str, Tensor]],
) -> bool:
    """Check a checkpoint against an encoder of the wanted size and print what matched; return whether it was written.

    Args:
        options: of the command.
        build: makes the encoder, on the meta device.
        load: reads the checkpoint into it; any missing or unexpected parameter is an error.
        official: gives its weights under the names of the checkpoint.

    Raises:
        InputError: for a size that the encoder does not take, an unwritable place, or a file that does not fit.
    """
    if options.out:
        require_writable(options.out.parent, "--out")
    config = SCALES[options.scale]()
    try:
        config = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, image_size=options.image_size))
    except ValueError as error:
        raise InputError(f"--image-size {options.image_size}: {error}", "Give a multiple of 16, such as 480") from None
    with torch.device("meta"):
        encoder = build(config)
    encoder.to_empty(device="cpu")
    report = load(encoder, options.checkpoint)
    add_result(**{name: len(values) for name, values in dataclasses.asdict(report).items()}, out=options.out)
    print_report(report)
    if not options.out:
        return False
    write_weights(official(encoder), options.out)
    return True


def print_report(report: ImportReport) -> None:
    """Print how many names matched, were resized and so on, with the first of each."""
    for name, values in dataclasses.asdict(report).items():
        examples = f"  ({', '.join(values[:3])}{', ...' if len(values) > 3 else ''})" if values else ""
        print(f"{name:<11}{len(values):>5}{examples}")


def write_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        write_safetensors(weights, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
