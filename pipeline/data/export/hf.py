"""Write a prepared set as parquet shards that Hugging Face's `datasets` loads, with a card that lists its features."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.export.rows import ExportedImages, exported_refs
from pipeline.data.prepared.manifest import Manifest
from pipeline.files import write_file

ROWS_IN_GROUP = 100
SHARD_BYTES = 500_000_000
"""Image bytes of a shard, as in the shards that `datasets` writes."""


def _value(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "_type": "Value"}


def _sequence(dtype: str) -> dict[str, Any]:
    return {"feature": _value(dtype), "_type": "Sequence"}


FEATURES: dict[str, Any] = {
    "image": {"_type": "Image"},
    "file_name": _value("string"),
    "image_id": _value("int64"),
    "height": _value("int32"),
    "width": _value("int32"),
    "ref_id": _value("int64"),
    "ann_id": _value("int64"),
    "category_id": _value("int64"),
    "bbox": _sequence("float64"),
    "mask": {"size": _sequence("int32"), "counts": _value("string")},
    "sent_ids": _sequence("int64"),
    "sentences": _sequence("string"),
}
"""Columns as `datasets` describes them; `mask` is COCO's compressed RLE, size as [height, width]."""

SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("file_name", pa.string()),
        ("image_id", pa.int64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("ref_id", pa.int64()),
        ("ann_id", pa.int64()),
        ("category_id", pa.int64()),
        ("bbox", pa.list_(pa.float64())),
        ("mask", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
        ("sent_ids", pa.list_(pa.int64())),
        ("sentences", pa.list_(pa.string())),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


def write_hf(manifest: Manifest, folder: Path) -> list[Path]:
    """Write `data/SPLIT-00000-of-00001.parquet`, README.md and the tokenizer; one group of rows is in memory.

    Returns:
        The files.

    Raises:
        InputError: when a split or an image is not what was prepared.
    """
    images = ExportedImages(manifest)
    (folder / "data").mkdir(parents=True)
    written: list[Path] = []
    sizes: dict[str, tuple[int, int]] = {}
    for part in manifest.splits:
        shards: list[Path] = []
        rows = 0
        for shard in _shards(manifest, part, images):
            shards.append(folder / "data" / f"{part}-{len(shards):05d}.partial")
            with pq.ParquetWriter(shards[-1], SCHEMA, compression="zstd", write_page_checksum=True) as writer:
                for group in shard:
                    writer.write_table(group)
                    rows += group.num_rows
        names = [f"{part}-{number:05d}-of-{len(shards):05d}.parquet" for number in range(len(shards))]
        final = [path.rename(path.with_name(name)) for path, name in zip(shards, names, strict=True)]
        sizes[part] = rows, sum(path.stat().st_size for path in final)
        written += final
    card, tokenizer = folder / "README.md", folder / "tokenizer.model"
    write_file(card, _card(manifest, sizes).encode())
    write_file(tokenizer, manifest.tokenizer_path.read_bytes())
    return [card, tokenizer, *written]


def _shards(manifest: Manifest, part: str, images: ExportedImages) -> Iterator[Iterator[pa.Table]]:
    """Yield the row groups of each shard; a shard has to be read before the next one is asked for."""
    groups = _groups(manifest, part, images)
    first = next(groups, None)
    while first is not None:
        rest: list[pa.Table] = []

        def shard(start: pa.Table, following: list[pa.Table] = rest) -> Iterator[pa.Table]:
            size = start.nbytes
            yield start
            for group in groups:
                if size + group.nbytes > SHARD_BYTES:
                    following.append(group)
                    return
                size += group.nbytes
                yield group

        yield shard(first)
        first = rest[0] if rest else None


def _groups(manifest: Manifest, part: str, images: ExportedImages) -> Iterator[pa.Table]:
    rows: list[dict[str, Any]] = []
    for ref in exported_refs(manifest, part):
        rows.append(_row(ref, images))
        if len(rows) == ROWS_IN_GROUP:
            yield pa.Table.from_pylist(rows, schema=SCHEMA)
            rows = []
    if rows:
        yield pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(ref: dict[str, Any], images: ExportedImages) -> dict[str, Any]:
    return {
        **{name: ref[name] for name in SCHEMA.names if name in ref},
        "image": {"bytes": images.content(ref["file_name"], ref["image_digest"]), "path": ref["file_name"]},
        "mask": {"size": [ref["height"], ref["width"]], "counts": ref["mask_rle"].decode("ascii")},
        "sentences": ref["expressions"],
    }


def _card(manifest: Manifest, sizes: dict[str, tuple[int, int]]) -> str:
    """Return the card; every name in it is quoted, since a split may be named `no`."""
    lines = ["---", "dataset_info:", "  features:", *_yaml_features(), "  splits:"]
    for part, (rows, size) in sizes.items():
        lines += [f"  - name: {json.dumps(part)}", f"    num_bytes: {size}", f"    num_examples: {rows}"]
    total = sum(size for _, size in sizes.values())
    lines += [f"  download_size: {total}", f"  dataset_size: {total}", "configs:"]
    lines += ["- config_name: default", "  data_files:"]
    for part in sizes:
        lines += [f"  - split: {json.dumps(part)}", f"    path: {json.dumps(f'data/{part}-*')}"]
    lines += [
        *("---", "", f"# {manifest.set}", ""),
        "Written by `sharedris data export`: a ref per row, with its image, its mask as COCO RLE and its sentences.",
        f"Fingerprint of the prepared set: `{manifest.fingerprint}`. Photographs and annotations keep their licenses.",
    ]
    return "\n".join(lines) + "\n"


def _yaml_features() -> Iterator[str]:
    for name, feature in FEATURES.items():
        yield f"  - name: {name}"
        if feature.get("_type") == "Image":
            yield "    dtype: image"
        elif feature.get("_type") == "Sequence":
            yield f"    sequence: {feature['feature']['dtype']}"
        elif feature.get("_type") == "Value":
            yield f"    dtype: {feature['dtype']}"
        else:
            yield "    struct:"
            for inner, value in feature.items():
                yield f"    - name: {inner}"
                kind = "sequence" if value["_type"] == "Sequence" else "dtype"
                yield f"      {kind}: {value.get('dtype') or value['feature']['dtype']}"
