"""Writes safetensors with the user's permissions, and names a full disk as the system does."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_safetensors(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write weights by name to a file with the permissions of the user's umask.

    Raises:
        OSError: that names the file; safetensors holds the system's error only as a text.
    """
    path.touch()
    mode = path.stat().st_mode  # safetensors writes for the owner only
    try:
        save_file(dict(weights), path)
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error
    path.chmod(mode)
