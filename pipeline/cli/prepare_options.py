"""What the commands that prepare a set have as options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.cli.common_options import CommonOptions, Flag


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(CommonOptions):
    """The set's name, its images and its tokenizer."""

    data: str
    """Set in full: refcoco_unc, refcocog_umd, toyplus_unc, ...; a name of your choice for own data."""
    out: str = "data/prepared"
    """Folder or URI to write."""
    images: str | None = None
    """Image folder (default: the usual place of the layout)."""
    no_images: Flag = False
    """Do not read the images."""
    embed_images: Flag = False
    """Store the image files in the prepared set."""
    tokenizer: str | None = None
    """A sentencepiece model (default: train one)."""
    lower_case: Flag = False
    """Train a tokenizer that reads lower case only."""
    on_bad_ref: Literal["error", "skip"] = "error"
    """Refuse a set with errors, or leave their refs out and count them."""

    @property
    def image_folder(self) -> Path | None:
        """Folder of the images, None for the usual place."""
        return Path(self.images) if self.images else None
