"""Every reader of a file from outside gets thousands of broken files: only the project's own errors come out.

`make test` tries a few of each, `make fuzz` as many as fit into FUZZ_SECONDS (600 by default). A failure prints the
seed of the file that failed: `FUZZ_SEED=123 pytest tests/fuzz -k NAME` tries only that one.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.config import RunConfig
from pipeline.data.copies.identify import identify
from pipeline.data.copies.index import ReferenceIndex, index_refer, load_index, save_index
from pipeline.data.copies.report import identity_text
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.prepared.manifest import EMBEDDED, MANIFEST
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.custom import read_custom
from pipeline.data.readers.hf import read_hf
from pipeline.data.readers.json_stream import iterate_members
from pipeline.data.readers.quality_flags import read_flags
from pipeline.data.readers.refer import read_refer
from pipeline.data.readers.safe_pickle import load_plain_pickle
from pipeline.failures import RunError
from pipeline.records import RECORD_SCHEMA, read_table
from pipeline.training import checkpoints
from reports.load import load_runs
from sharedris.build import build_model
from sharedris.checkpoint import load_model, save_model
from sharedris.checkpoint_forms import read_tensors
from sharedris.errors import InputError
from sharedris.predictor import image_tensor, open_image
from sharedris.tokenizers import open_tokenizer
from tests.conftest import TOY
from tests.fuzz.mutations import changed_bytes, changed_value

OURS = (InputError, RunError)
SECONDS_A_FILE = 30
QUICK = 12
"""Files of each kind in `make test`."""

Change = Callable[[random.Random], None]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader with a file that it reads, and how the file is changed."""

    path: Path
    read: Callable[[], object]
    dump: Callable[[Any], bytes] | None = None  # of the value, where it is changed as a value too
    value: Any = None


@contextmanager
def no_hang(seconds: int) -> Iterator[None]:
    """Fail a file that is read for too long; pytest-timeout would end the whole test run."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"still reading after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def dump_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def dump_lines(value: Any) -> bytes:
    return b"\n".join(dump_json(line) for line in value) if isinstance(value, list) else dump_json(value)


def dump_pickle(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, toy_root: Path, micro_run: RunConfig) -> Path:
    """One valid file of each kind."""
    root = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(toy_root.parent / "refer", root / "refer")
    shutil.copytree(toy_root, root / "prepared")
    shutil.copytree(toy_root, root / "old")  # as version 0.1 wrote it: no digest refuses a file before it is parsed
    old = json.loads((root / "old" / TOY / MANIFEST).read_text())
    digests = ("rows_digests", "file_digests")
    (root / "old" / TOY / MANIFEST).write_bytes(dump_json({k: v for k, v in old.items() if k not in digests}))
    prepare_source(read_refer(root / "refer", TOY), root / "embedded", embed_images=True)
    shutil.copytree(Path(__file__).parents[1] / "golden" / "records" / "v1", root / "runs")
    picture = Image.effect_noise((24, 18), 80).convert("RGB")
    for suffix in ("jpg", "png", "tif", "webp", "gif", "bmp"):
        picture.save(root / f"a.{suffix}")
    Image.new("1", (24, 18), 1).save(root / "mask.png")
    polygon = {"image": "a.jpg", "split": "train", "expressions": ["red dog"], "polygons": [[1, 1, 9, 1, 9, 9]]}
    rle = {"image": "a.png", "split": "val", "expression": "cat", "rle": {"size": [18, 24], "counts": [5, 90, 337]}}
    mask = {"image": "a.png", "split": "val", "expression": "dog", "mask": "mask.png", "ref_id": 9, "category_id": 1}
    (root / "refs.jsonl").write_bytes(dump_lines([polygon, rle, mask]))
    (root / "refs.csv").write_text('image,split,expression,polygons\na.jpg,train,"red, dog","[[1,1,9,1,9,9]]"\n' * 2)
    (root / "val.parquet").write_bytes(parquet_of_refs((root / "a.jpg").read_bytes()))
    (root / "val.json").write_bytes(dump_json(REFS_OF_A_COPY))
    (root / "flags.json").write_bytes(dump_json(FLAGS))
    save_index(index_refer(root / "refer"), root / "index.parquet")
    write_any_number(root / "any")
    (root / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "##s"]))
    shutil.copy(next(toy_root.glob("*/tokenizer.model")), root / "tokenizer.model")
    torch.manual_seed(0)
    model = build_model(micro_run.model)
    save_model(root / "model", model, micro_run.model, root / "tokenizer.model", 0.35, "r")
    torch.save({"model": {"a": torch.ones(3)}, "epoch": 3}, root / "weights.pth")
    checkpoints.save(root / "state", {"content_hash": "x", "t": torch.ones(3)}, epoch=1, step=2)
    return root


REFS_OF_A_COPY = [
    {"ref_id": 1, "image_id": 2, "split": "val", "sentences": [{"sent": "red dog", "raw": "Red dog!", "sent_id": 3}]},
    {"ann_id": 5, "file_name": "COCO_train2014_000000000009_5.jpg", "answer": ["left dog", "dog"]},
    {"samples": [{"id": 3, "sentences": ["cat"], "image_id": 9}], "image_id": 9},
]


FLAGS = {
    "images": [{"id": 0, "original_id": 9, "caption": "red dog"}],
    "annotation": [{"image_id": 0, "caption_quality": 0}, {"sent_id": 3, "caption_quality": 1}],
}


def parquet_of_refs(image: bytes) -> bytes:
    """Two refs with their image, of 24 x 18 pixels."""
    rows = [
        {
            "image": {"bytes": image, "path": "a.jpg"},
            "ref_id": number,
            "sentences": ["red dog", "dog"],
            "mask": {"size": [18, 24], "counts": "54I0`<"} if number else None,
            "segmentation": [1.0, 1.0, 9.0, 1.0, 9.0, 9.0],
            "raw_image_info": json.dumps({"height": 18, "width": 24}),
        }
        for number in range(2)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def read_copy(path: Path) -> object:
    index = ReferenceIndex([])
    return identity_text(identify(path, None)), identity_text(identify(path, index))


def write_any_number(root: Path) -> None:
    """Write one ref of each kind in the layouts whose sentences may name several objects or none."""
    polygon = [[1, 1, 9, 1, 9, 9]]
    annotations = [{"id": i, "image_id": 1, "bbox": [1, 1, 8, 8], "segmentation": polygon} for i in (5, 6)]
    instances = {"images": [{"id": 1, "file_name": "a.jpg", "height": 18, "width": 24}], "annotations": annotations}
    common = {"image_id": 1, "split": "train"}
    some = {**common, "ref_id": 0, "ann_id": [5, 6], "sentences": [{"sent_id": 0, "sent": "both dogs"}]}
    none = {**common, "ref_id": 1, "ann_id": [-1], "sentences": [{"sent_id": 1, "sent": "a cat"}]}
    zero = {**none, "ann_id": [], "source": "zero"}
    mixed = [{"sent_id": 0, "sent": "dog", "exist": True}, {"sent_id": 1, "sent": "cat", "exist": False}]
    files = {
        "grefcoco/grefs(unc).json": dump_json([some, none]),
        "ref-zom/refs(final).p": dump_pickle([{**some, "source": "many"}, zero]),
        "rrefcoco/refs(unc).p": dump_pickle([{**some, "ann_id": 5, "sentences": mixed}]),
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(content)
        (root / name).with_name("instances.json").write_bytes(dump_json(instances))


def any_number_targets(root: Path) -> dict[str, Target]:
    def target(name: str, file: str, dump: Callable[[Any], bytes]) -> Target:
        path = root / "any" / file
        value = json.loads(path.read_bytes()) if dump is dump_json else load_plain_pickle(path)
        return Target(path=path, read=lambda: read_refer(root / "any", name, need_images=False), dump=dump, value=value)

    return {
        "gRefCOCO refs": target("grefcoco_unc", "grefcoco/grefs(unc).json", dump_json),
        "Ref-ZOM refs": target("ref-zom_final", "ref-zom/refs(final).p", dump_pickle),
        "R-RefCOCO refs": target("rrefcoco_unc", "rrefcoco/refs(unc).p", dump_pickle),
    }


def read_everything_prepared(root: Path) -> None:
    dataset = ReferDataset(root, f"{TOY}/val", image_size=32, text_tokens=20)
    for index in range(min(2, len(dataset))):
        dataset[index]


def read_image(path: Path) -> object:
    return image_tensor(open_image(path), 32)


def read_any_checkpoint(path: Path) -> object:
    return checkpoints.load_newest(path.parent, content_hash="x")


KINDS = (
    *("refs", "instances", "json", "jsonl", "csv", "mask", "tokenizer", "vocabulary", "weights", "model weights"),
    *("model config", "record", "runs", "manifest", "split", "checkpoint", "checkpoint manifest"),
    *("old split", "embedded images"),
    *("parquet", "copy in parquet", "copy in JSON", "index of sets", "flags"),
    *("gRefCOCO refs", "Ref-ZOM refs", "R-RefCOCO refs"),
    *("jpg", "png", "tif", "webp", "gif", "bmp"),
)


def annotation_targets(root: Path) -> dict[str, Target]:
    folder = next(path for path in (root / "refer").iterdir() if (path / "instances.json").exists())
    refs, instances = next(folder.glob("refs*.p")), folder / "instances.json"

    def read_set() -> object:
        return read_refer(root / "refer", TOY)

    return {
        "refs": Target(path=refs, read=read_set, dump=dump_pickle, value=load_plain_pickle(refs)),
        "instances": Target(path=instances, read=read_set, dump=dump_json, value=json.loads(instances.read_text())),
        "json": Target(path=instances, read=lambda: list(iterate_members(instances))),
        "jsonl": Target(
            path=root / "refs.jsonl",
            read=lambda: read_custom(root / "refs.jsonl", "mine"),
            dump=dump_lines,
            value=[json.loads(line) for line in (root / "refs.jsonl").read_text().splitlines()],
        ),
        "csv": Target(path=root / "refs.csv", read=lambda: read_custom(root / "refs.csv", "mine")),
        "mask": Target(path=root / "mask.png", read=lambda: read_custom(root / "refs.jsonl", "mine")),
    }


def copy_targets(root: Path) -> dict[str, Target]:
    copy, parquet, index = root / "val.json", root / "val.parquet", root / "index.parquet"
    flags = root / "flags.json"
    return {
        "parquet": Target(path=parquet, read=lambda: read_hf(parquet, "mine")),
        "copy in parquet": Target(path=parquet, read=lambda: read_copy(parquet)),
        "copy in JSON": Target(path=copy, read=lambda: read_copy(copy), dump=dump_json, value=REFS_OF_A_COPY),
        "index of sets": Target(path=index, read=lambda: load_index(index)),
        "flags": Target(path=flags, read=lambda: read_flags([flags]), dump=dump_json, value=FLAGS),
    }


def model_targets(root: Path) -> dict[str, Target]:
    return {
        "tokenizer": Target(
            path=root / "tokenizer.model", read=lambda: open_tokenizer(root / "tokenizer.model", 20).encode("red dog")
        ),
        "vocabulary": Target(
            path=root / "vocab.txt", read=lambda: open_tokenizer(root / "vocab.txt", 20).encode("red dogs")
        ),
        "weights": Target(path=root / "weights.pth", read=lambda: read_tensors(root / "weights.pth", remedy="none")),
        "model weights": Target(path=root / "model" / "model.safetensors", read=lambda: load_model(root / "model")),
        "model config": Target(
            path=root / "model" / "config.json",
            read=lambda: load_model(root / "model"),
            dump=dump_json,
            value=json.loads((root / "model" / "config.json").read_text()),
        ),
    }


def run_targets(root: Path) -> dict[str, Target]:
    checkpoint = next((root / "state").glob("*.pt"))
    record = next((root / "runs" / "records").glob("*.parquet"))
    return {
        "record": Target(path=record, read=lambda: read_table(record, RECORD_SCHEMA)),
        "runs": Target(path=record, read=lambda: load_runs(root / "runs")),
        "checkpoint": Target(
            path=checkpoint,
            read=lambda: read_any_checkpoint(checkpoint),
        ),
        "checkpoint manifest": Target(
            path=checkpoint.with_suffix(".json"),
            read=lambda: read_any_checkpoint(checkpoint),
            dump=dump_json,
            value=json.loads(checkpoint.with_suffix(".json").read_text()),
        ),
    }


def prepared_targets(root: Path) -> dict[str, Target]:
    prepared = root / "prepared" / TOY
    return {
        "manifest": Target(
            path=prepared / MANIFEST,
            read=lambda: read_everything_prepared(root / "prepared"),
            dump=dump_json,
            value=json.loads((prepared / MANIFEST).read_text()),
        ),
        "split": Target(path=prepared / "val.parquet", read=lambda: read_everything_prepared(root / "prepared")),
        "old split": Target(
            path=root / "old" / TOY / "val.parquet", read=lambda: read_everything_prepared(root / "old")
        ),
        "embedded images": Target(
            path=root / "embedded" / TOY / EMBEDDED, read=lambda: read_everything_prepared(root / "embedded")
        ),
    }


def image_targets(root: Path) -> dict[str, Target]:
    paths = [root / f"a.{suffix}" for suffix in ("jpg", "png", "tif", "webp", "gif", "bmp")]
    return {path.suffix[1:]: Target(path=path, read=functools.partial(read_image, path)) for path in paths}


GROUPS = (
    *(annotation_targets, any_number_targets, copy_targets, model_targets),
    *(run_targets, prepared_targets, image_targets),
)


def targets(root: Path) -> dict[str, Target]:
    """Return every reader with its file, by the name of the kind of file."""
    return {kind: target for group in GROUPS for kind, target in group(root).items()}


def read_changed(target: Target, valid: bytes, seed: int) -> None:
    """Change the file as the seed says and read it; raise what is not the project's own error, with the seed."""
    random_ = random.Random(seed)
    if target.dump is not None and random_.random() < 0.7:
        target.path.write_bytes(target.dump(changed_value(target.value, random_)))
    else:
        target.path.write_bytes(changed_bytes(valid, random_))
    try:
        with no_hang(SECONDS_A_FILE):
            target.read()
    except OURS as error:
        message = str(error)
        assert message.isprintable(), f"FUZZ_SEED={seed}: {message!r} has control characters"
    except Exception as error:
        raise AssertionError(f"FUZZ_SEED={seed}: {type(error).__name__}: {error}") from error


def try_files(kind: str, root: Path, seeds: Iterator[int]) -> int:
    target = targets(root)[kind]
    valid = target.path.read_bytes()
    target.read()  # as it is, it is read
    tried = 0
    try:
        for seed in seeds:
            read_changed(target, valid, seed)
            tried += 1
    finally:
        target.path.write_bytes(valid)
    return tried


def given_seeds(count: int) -> Iterator[int]:
    return iter([int(os.environ["FUZZ_SEED"])]) if "FUZZ_SEED" in os.environ else iter(range(count))


def test_every_kind_is_tried(place: Path) -> None:
    assert set(targets(place)) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_only_our_errors_escape(kind: str, place: Path) -> None:
    assert try_files(kind, place, given_seeds(QUICK))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_only_our_errors_escape_for_minutes(kind: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deadline = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "600")) / len(KINDS)
    first = int.from_bytes(os.urandom(4))
    seeds = iter(lambda: first + random.getrandbits(40) if time.monotonic() < deadline else None, None)
    tried = try_files(kind, place, seeds)
    with capsys.disabled():
        print(f"\n{kind}: {tried} broken files, seeds from {first}")
