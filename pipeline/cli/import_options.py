"""What the commands that import the weights of an encoder have as options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from pipeline.cli.common_options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class ImportOptions(CommonOptions):
    """The checkpoint that is read and the file that is written."""

    checkpoint: tyro.conf.Positional[Path]
    """File of weights: .pth, or safetensors with the same names."""
    scale: Literal["base", "large"] = "base"
    """Scale of the model."""
    image_size: int = 480
    """Pixels of a side."""
    out: Path | None = None
    """Safetensors file to write (default: only check)."""
