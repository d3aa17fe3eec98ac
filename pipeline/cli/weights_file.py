"""What the commands that import an encoder's weights have in common: the printed report, and the file they write."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from sharedris.beit3 import ImportReport


def print_report(report: ImportReport) -> None:
    """Print how many names matched, were resized and so on, with the first of each."""
    for name, values in dataclasses.asdict(report).items():
        examples = f"  ({', '.join(values[:3])}{', ...' if len(values) > 3 else ''})" if values else ""
        print(f"{name:<11}{len(values):>5}{examples}")


def write_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file in one step, with the permissions of the user's umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.touch()
    mode = partial.stat().st_mode  # safetensors writes for the owner only
    save_file(dict(weights), partial)
    partial.chmod(mode)
    partial.replace(path)
