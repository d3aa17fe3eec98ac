"""Names of splits as copies write them, and files that are parts of one split or one copy."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testa": "testA",
    "testb": "testB",
}
_SPLIT_IN_NAME = re.compile(
    rf"(?<![a-z0-9])({'|'.join(sorted(_SPLIT_NAMES, key=len, reverse=True))})(?![a-z0-9])", re.I
)
_SHARD = re.compile(r"-\d{4,5}-of-\d{4,5}(-[0-9a-f]{16})?")


def split_name(text: Any) -> str:
    """Return the catalog's spelling of a split, the text itself for a custom name, or nothing."""
    return _SPLIT_NAMES.get(text.strip().lower(), text.strip()[:32]) if isinstance(text, str) else ""


def split_of_file(name: str) -> str:
    """Return the split that a file's name states (`val-00000-of-00004.parquet`, `refcoco_testA.json`), or nothing."""
    found = _SPLIT_IN_NAME.findall(_SHARD.sub("", PurePosixPath(name).stem).replace("_", "-"))
    return split_name(found[-1]) if found else ""


def group_of_file(name: str) -> str:
    """Return a file's name without split and shard: files of one group are one copy."""
    path = PurePosixPath(name)
    stem = _SHARD.sub("", path.stem).replace("_", "-")
    stem = _SPLIT_IN_NAME.sub("*", stem)
    return str(path.with_name(f"{stem}{path.suffix}")) if "*" in stem or stem != path.stem else name
