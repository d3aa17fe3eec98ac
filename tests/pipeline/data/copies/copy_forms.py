"""A REFER root with two partitions and two sets, and the forms in which copies of it are passed around."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Ref = dict[str, Any]
Splits = dict[str, list[Ref]]


def synthetic_refs() -> list[Ref]:
    """Refs of 24 images with two objects each; the text before cleaning differs from the cleaned one."""
    refs: list[Ref] = []
    for number in range(48):
        image = 1000 + number // 2
        texts = [f"object {number} by the {word}" for word in ("door", "tree", "lake")[: 2 + number % 2]]
        refs.append(make_ref(number, image, texts, ("train", "val", "testA", "testB")[number // 2 % 4]))
    return refs


def duplicate(value: Any) -> Any:
    """Return a deep copy, five times as fast as `copy.deepcopy`."""
    return pickle.loads(pickle.dumps(value))


def make_ref(number: int, image: int, texts: list[str], split: str) -> Ref:
    """A ref in REFER's layout."""
    return {
        "ref_id": number,
        "ann_id": 50_000 + number,
        "image_id": image,
        "file_name": f"COCO_train2014_{image:012d}_{number}.jpg",
        "category_id": 1,
        "split": split,
        "sent_ids": [10 * number + position for position in range(len(texts))],
        "sentences": [
            {"sent_id": 10 * number + position, "sent": text, "raw": f"The {text}.", "tokens": text.split()}
            for position, text in enumerate(texts)
        ],
    }


def write_root(root: Path, refs: list[Ref]) -> Path:
    """Write the refs as refcoco (unc), the same objects in other splits as google, and refcoco+ on the same images."""
    google, plus = duplicate(refs), duplicate(refs)
    for position, ref in enumerate(google):
        ref["split"] = ("train", "train", "val", "test", "train")[position % 5]
    for position, ref in enumerate(plus):
        ref.update(
            make_ref(1000 + position, ref["image_id"], [f"plus words {position}", f"more {position}"], ref["split"])
        )
    for folder, name, content in (("refcoco", "unc", refs), ("refcoco", "google", google), ("refcoco+", "unc", plus)):
        path = root / folder / f"refs({name}).p"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(content, protocol=2))
    return root


def splits_of(root: Path, folder: str = "refcoco", partition: str = "unc") -> Splits:
    """The refs of a set by split."""
    found: Splits = {}
    for ref in pickle.loads((root / folder / f"refs({partition}).p").read_bytes()):
        found.setdefault(ref["split"], []).append(ref)
    return found


def write_pickle(folder: Path, splits: Splits) -> None:
    """REFER's own form."""
    refs = [{**ref, "split": split} for split, refs in splits.items() for ref in refs]
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))


def write_jxu124(folder: Path, splits: Splits) -> None:
    """The parquet copies of jxu124: a ref per row."""
    for split, refs in splits.items():
        rows = [
            {
                **{
                    name: ref[name] for name in ("sent_ids", "ann_id", "ref_id", "image_id", "sentences", "category_id")
                },
                "file_name": f"COCO_train2014_{ref['image_id']:012d}.jpg",
                "split": split,
                "raw_anns": "{}",
                "raw_image_info": "{}",
                "raw_sentences": json.dumps(ref["sentences"]),
                "image_path": f"coco/train2014/COCO_train2014_{ref['image_id']:012d}.jpg",
                "bbox": [1.0, 2.0, 3.0, 4.0],
                "captions": [each["sent"] for each in ref["sentences"]],
            }
            for ref in refs
        ]
        name = "validation" if split == "val" else split
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}-00000-of-00001.parquet", row_group_size=16)


def write_lmms(folder: Path, splits: Splits) -> None:
    """The parquet copies of lmms-lab: a ref per row, without its ids and split, in several shards."""
    for split, refs in splits.items():
        rows = [
            {
                "question_id": str(number),
                "image": {"bytes": b"pixels", "path": None},
                "question": "Provide a short description.",
                "answer": [each["sent"] for each in ref["sentences"]],
                "segmentation": [1.0, 1.0, 5.0, 1.0, 5.0, 5.0],
                "bbox": [1.0, 1.0, 4.0, 4.0],
                "iscrowd": 0,
                "file_name": ref["file_name"],
            }
            for number, ref in enumerate(refs)
        ]
        half = (len(rows) + 1) // 2
        for shard, part in enumerate((rows[:half], rows[half:])):
            if part:
                pq.write_table(pa.Table.from_pylist(part), folder / f"{split}-0000{shard}-of-00002.parquet")


def write_json(folder: Path, splits: Splits) -> None:
    """One JSON list of refs per split."""
    for split, refs in splits.items():
        rows = [
            {
                "ref_id": ref["ref_id"],
                "img_id": f"COCO_train2014_{ref['image_id']:012d}",
                "expressions": [each["sent"] for each in ref["sentences"]],
            }
            for ref in refs
        ]
        (folder / f"refcoco_{split}.json").write_text(json.dumps(rows))


def _sentence_rows(splits: Splits) -> list[Ref]:
    return [
        {
            "split": split,
            "ref_id": ref["ref_id"],
            "image_id": ref["image_id"],
            "file_name": f"COCO_train2014_{ref['image_id']:012d}.jpg",
            "sent": each["sent"],
        }
        for split, refs in splits.items()
        for ref in refs
        for each in ref["sentences"]
    ]


def write_lines(folder: Path, splits: Splits) -> None:
    """JSON Lines with a sentence per row."""
    rows = [{name: row[name] for name in ("split", "ref_id", "image_id", "sent")} for row in _sentence_rows(splits)]
    (folder / "refcoco.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_tsv(folder: Path, splits: Splits) -> None:
    """TSV with a sentence per row and no ref ids."""
    with (folder / "refcoco.tsv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["split", "file_name", "sent"], delimiter="\t", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(_sentence_rows(splits))


FORMS: dict[str, Callable[[Path, Splits], None]] = {
    "pickle": write_pickle,
    "jxu124": write_jxu124,
    "lmms": write_lmms,
    "json": write_json,
    "lines": write_lines,
    "tsv": write_tsv,
}
ONE_SENTENCE_A_ROW = {"lines", "tsv"}
WITHOUT_REF_IDS = {"lmms", "tsv"}
