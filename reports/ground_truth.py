"""Images and ground-truth masks of prepared sets, read from the files that `sharedris data prepare` wrote.

PREPARED/SET/dataset.json     image_root, image_folder, embedded, file_digests
PREPARED/SET/SPLIT.parquet    a row per ref: ref_id, file_name, image_digest, height, width, mask_rle
PREPARED/SET/images.arrow     file_name, content; where images are embedded

Rows and images are compared with their digests, where the set has them: a mask on another image would be a lie.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.masks import decode_filled_mask
from pipeline.data.prepared.fingerprint import file_digest
from pipeline.data.readers.images import content_digest
from pipeline.records import RecordError
from sharedris.pixels import MAX_FILE_BYTES, decode_image
from sharedris.regular_file import read_regular

COLUMNS = ("ref_id", "file_name", "image_digest", "height", "width", "mask_rle")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Refs of one prepared split, by ref id."""

    folder: Path
    refs: pd.DataFrame
    image_root: Path
    embedded: bool
    changed: dict[str, None] = field(default_factory=dict)  # names of images that are not the ones that were prepared

    def mask(self, ref_id: int) -> np.ndarray:
        """Return the ground-truth mask (H, W) of a ref as bool."""
        row = self.refs.loc[ref_id].to_dict()
        return decode_filled_mask(row["mask_rle"], height=row["height"], width=row["width"]).astype(bool)

    def image(self, file_name: str) -> np.ndarray | None:
        """Return an image (H, W, 3) as uint8, or None where the file is not there, was changed or does not decode."""
        try:
            content = (
                self._contents[file_name]
                if self.embedded
                else read_regular(self.image_root / file_name, most_bytes=MAX_FILE_BYTES, root=self.image_root)
            )
            if self._digests.get(file_name, "") not in ("", content_digest(content)):
                self.changed[file_name] = None
                return None
            return decode_image(content, name=file_name)
        except (OSError, KeyError, ValueError):
            return None

    @cached_property
    def _digests(self) -> dict[str, str]:
        if "image_digest" not in self.refs:
            return {}
        return dict(zip(self.refs["file_name"], self.refs["image_digest"].fillna(""), strict=True))

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        with pa.memory_map(str(self.folder / "images.arrow")) as source:
            rows = pa.ipc.open_file(source).read_all().to_pydict()
        return dict(zip(rows["file_name"], rows["content"], strict=True))


def read_split(folder: Path, name: str) -> tuple[dict[str, Any], pa.Table]:
    """Return the manifest of a prepared set and the rows of one split, which is checked against its digest.

    Raises:
        OSError, ValueError: when one of them is not there, unreadable, or was changed after it was prepared.
    """
    manifest: dict[str, Any] = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    content = (folder / f"{name}.parquet").read_bytes()
    if manifest.get("file_digests", {}).get(name) not in (None, file_digest(content)):
        raise ValueError(f"{folder / name}.parquet was changed after it was prepared")
    return manifest, pq.read_table(pa.BufferReader(content))


def load_truth(prepared: Path, split: str) -> Truth:
    """Read a prepared split (`SET/SPLIT`).

    Raises:
        RecordError: when the set is not prepared there, or the split was changed since.
    """
    data_set, _, name = split.partition("/")
    folder = Path(prepared) / data_set
    try:
        manifest, held = read_split(folder, name)
        refs = held.select([each for each in COLUMNS if each in held.column_names]).to_pandas().set_index("ref_id")
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise RecordError(
            f"no images and masks of {split}: {reason}", "Name the folder of the prepared sets with --prepared"
        ) from None
    moved = folder / manifest.get("image_folder", "")  # the images relative to the set, where both were moved
    return Truth(
        folder=folder,
        refs=refs,
        image_root=moved if moved != folder and moved.is_dir() else Path(manifest["image_root"]),
        embedded=bool(manifest["embedded"]),
    )
