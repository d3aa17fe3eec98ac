"""The cases of `bench_data.py`, each in a process of its own; the last line printed is the measurement, as JSON."""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 7
LOADED = ("refcocog_umd/train", "refcocog_umd/val", "refcocog_umd/test")


def peak_mib() -> float:
    """Return the process's highest resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def own_mib() -> float:
    """Return the memory that this process alone holds."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def prepare(root: str, out: str) -> dict[str, Any]:
    """Time reading and preparing annotations of full size, imports included."""
    started = time.perf_counter()
    from pipeline.data.prepared.prepare import prepare_source
    from pipeline.data.readers.refer import read_refer

    done = prepare_source(read_refer(Path(root), "refcoco_unc", need_images=False), out, read_images=False)
    counts = done.manifest.splits.values()
    return {
        "seconds": time.perf_counter() - started,
        "peak_mib": peak_mib(),
        "refs": sum(count.refs for count in counts),
        "expressions": sum(count.expressions for count in counts),
        "written": done.written,
    }


def plain_prepare(root: str) -> dict[str, Any]:
    """Time what the REFER class does on opening, and the masks of all refs, as training code makes them."""
    started = time.perf_counter()
    import pickle

    import numpy as np
    from pycocotools import mask

    folder = Path(root) / "refcoco"
    refs = pickle.loads((folder / "refs(unc).p").read_bytes())  # noqa: S301  (our own file; the plain way trusts it)
    with (folder / "instances.json").open() as stream:
        instances = json.load(stream)
    annotations = {entry["id"]: entry for entry in instances["annotations"]}
    images = {entry["id"]: entry for entry in instances["images"]}
    image_annotations: dict[int, list[Any]] = {}
    for entry in instances["annotations"]:
        image_annotations.setdefault(entry["image_id"], []).append(entry)
    sentences = {entry["sent_id"]: entry for ref in refs for entry in ref["sentences"]}
    area = 0
    for ref in refs:
        image = images[ref["image_id"]]
        rle = mask.frPyObjects(annotations[ref["ann_id"]]["segmentation"], image["height"], image["width"])
        area += int((np.sum(mask.decode(rle), axis=2).astype(np.uint8) > 0).sum())
    assert area
    assert len(sentences) >= len(refs)
    return {"seconds": time.perf_counter() - started, "peak_mib": peak_mib()}


def _started(opened: Callable[[], tuple[int, Callable[[], object]]]) -> dict[str, Any]:
    """Time opening, and what one pass over all samples makes a forked worker hold of its own."""
    before, started = own_mib(), time.perf_counter()
    expressions, walk = opened()
    seconds, grown = time.perf_counter() - started, own_mib() - before
    context = multiprocessing.get_context("fork")
    answer: Any = context.SimpleQueue()

    def worker() -> None:
        empty = own_mib()
        walk()
        answer.put(own_mib() - empty)

    process = context.Process(target=worker)
    process.start()
    worker_mib = answer.get()
    process.join()
    return {"seconds": seconds, "grown_mib": grown, "worker_mib": worker_mib, "expressions": expressions}


def start(prepared: str) -> dict[str, Any]:
    """Open all splits of the full set (torch and pyarrow already imported)."""
    from pipeline.data.dataset.refer_dataset import ReferDataset
    from pipeline.data.prepared.manifest import load_manifest

    parts = list(load_manifest(prepared, "refcoco_unc").splits)

    def opened() -> tuple[int, Callable[[], object]]:
        datasets = [ReferDataset(prepared, f"refcoco_unc/{part}", image_size=480, text_tokens=20) for part in parts]

        def walk() -> None:
            for data in datasets:
                for index in range(len(data)):
                    data.tokenizer.encode(data.info(index).expression)

        return sum(map(len, datasets)), walk

    return _started(opened)


def plain_start(prepared: str) -> dict[str, Any]:
    """The same as a list with a dictionary per sample, as most training code keeps it."""
    import pandas as pd

    from pipeline.data.prepared.manifest import load_manifest
    from sharedris.sentencepiece_tokenizer import SentencePieceTokenizer

    manifest = load_manifest(prepared, "refcoco_unc")
    tokenizer = SentencePieceTokenizer(manifest.tokenizer_path, 20)

    def opened() -> tuple[int, Callable[[], object]]:
        samples: list[dict[str, Any]] = []
        for part in manifest.splits:
            for row in pd.read_parquet(Path(prepared) / "refcoco_unc" / f"{part}.parquet").to_dict("records"):
                samples += [{**row, "expression": text, "rle": bytes(row["mask_rle"])} for text in row["expressions"]]
        return len(samples), lambda: [tokenizer.encode(str(sample["expression"])) for sample in samples]

    return _started(opened)


def _photos(photos: str, prepared: str) -> list[Any]:
    import pipeline.data.dataset.image_store
    from pipeline.data.dataset.refer_dataset import ReferDataset
    from pipeline.data.prepared.prepare import prepare_source
    from pipeline.data.readers.refer import read_refer

    prepare_source(read_refer(Path(photos), "refcocog_umd"), prepared)
    pipeline.data.dataset.image_store.CACHE_BYTES = 0
    datasets = [ReferDataset(prepared, split, image_size=480, text_tokens=20) for split in LOADED]
    return [(data, index) for data in datasets for index in range(len(data))]


def _timed(samples: list[Any], ways: dict[str, Callable[[Any], object]]) -> dict[str, float]:
    """Return milliseconds per sample of each way: the ways take turns, and the quickest round of each counts."""
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, one in ways.items():
            started = time.process_time()
            for sample in samples:
                one(sample)
            rounds[name].append((time.process_time() - started) * 1000 / len(samples))
    return {name: min(values) for name, values in rounds.items()}


def _ours(sample: Any) -> Any:
    from pipeline.data.dataset.loader import collate

    return collate([sample[0][sample[1]]])


def load(photos: str, prepared: str) -> dict[str, Any]:
    """Time samples, normalised and in a batch of one, ours and the plain Pillow way, and compare their pixels."""
    import numpy as np
    import torch
    from PIL import Image
    from pycocotools import mask

    torch.set_num_threads(1)
    samples = _photos(photos, prepared)
    root = Path(samples[0][0].manifest.image_root)
    instances = json.loads((Path(photos) / "refcocog/instances.json").read_text())
    polygons = {entry["id"]: entry["segmentation"] for entry in instances["annotations"]}
    ann_ids = _ann_ids(prepared)

    def one(sample: Any) -> Any:
        data, index = sample
        info = data.info(index)
        image = Image.open(root / info.file_name).convert("RGB").resize((480, 480), Image.Resampling.BICUBIC)
        rle = mask.frPyObjects(polygons[ann_ids[info.ref_id]], info.height, info.width)
        mask_HW = (np.sum(mask.decode(rle), axis=2) > 0).astype(np.uint8)
        mask_SS = Image.fromarray(mask_HW).resize((480, 480), Image.Resampling.NEAREST)
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
        ids = data.tokenizer.encode(info.expression)
        return (pixels - 0.5) / 0.5, torch.from_numpy(np.asarray(mask_SS).copy()), ids

    difference, one_call, masks = 0, 0, 0
    for sample in samples:
        batch, (pixels, mask_SS, _) = _ours(sample), one(sample)
        levels = (batch.image_BCHW[0] + 1).mul(127.5).round().int()
        image = Image.open(root / sample[0].info(sample[1]).file_name).convert("RGB")
        wide = image.resize((480, image.height), Image.Resampling.BICUBIC)
        two_steps = np.asarray(wide.resize((480, 480), Image.Resampling.BICUBIC)).copy()
        difference = max(difference, int((levels - torch.from_numpy(two_steps).permute(2, 0, 1)).abs().max()))
        one_call = max(one_call, int((levels - (pixels + 1).mul(127.5).round().int()).abs().max()))
        masks += int((batch.mask_BHW[0] != mask_SS).sum())
    return {
        **_timed(samples, {"ours": _ours, "plain": one}),
        "images": len({data.info(index).file_name for data, index in samples}),
        "largest_difference": difference,
        "one_call_difference": one_call,
        "mask_difference": masks,
    }


def _ann_ids(prepared: str) -> dict[int, int]:
    import pandas as pd

    tables = [pd.read_parquet(Path(prepared) / f"{split}.parquet") for split in LOADED]
    rows = pd.concat(tables)
    return dict(zip(rows["ref_id"], rows["ann_id"], strict=True))


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
