"""The options of `sharedris import dual`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.common_options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """The three files that are read and the folder that is written."""

    swin: Path
    """Of transformers: swin-base-patch4-window12-384-in22k, model.safetensors or a .pth of plain tensors."""
    bert: Path
    """Of transformers: bert-base-uncased, model.safetensors or a .pth of plain tensors."""
    vocabulary: Path
    """The vocab.txt of bert-base-uncased."""
    out: Path
    """Folder to write, for --dual-weights."""
