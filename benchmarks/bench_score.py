"""How long `sharedris score` takes on 142,000 made-up predictions of 640x480 pixels.

    python benchmarks/bench_score.py                       the issue's size: JSON Lines, one array, parquet, some PNG
    python benchmarks/bench_score.py --expressions 10000   smaller

Prints Markdown and writes benchmarks/results/score.md. Targets: 60 s and 2 GiB on 2 cores, start of Python included.
Run it under `flock` where others measure on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from pipeline.data.masks import encode_mask  # noqa: E402
from pipeline.data.prepared.fingerprint import (  # noqa: E402
    file_digest,
    file_fingerprint,
    rows_digest,
    set_fingerprint,
)
from pipeline.data.prepared.manifest import (  # noqa: E402
    MANIFEST,
    PREPARED_VERSION,
    TOKENIZER,
    Manifest,
    manifest_json,
)
from pipeline.data.prepared.prepare import count_table, ref_table  # noqa: E402
from pipeline.data.readers.annotations import ImageInfo, SourceRef  # noqa: E402

EXPRESSIONS, SENTENCES_PER_REF, SHAPES, PNGS = 142_000, 3, 400, 4_000
HEIGHT, WIDTH = 480, 640
SET, PART = "bench", "val"


def blob(generator: np.random.Generator) -> np.ndarray:
    """Return a mask with an uneven outline, which takes as many bytes as those of models do."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    x, y = generator.uniform(120, 520), generator.uniform(120, 360)
    turn, reach = np.arctan2(rows - y, columns - x), generator.uniform(40, 110)
    edge = sum(generator.uniform(0, 8) * np.sin(wave * turn + generator.uniform(0, 6)) for wave in range(1, 14))
    return np.hypot(rows - y, columns - x) < reach + edge


def write_prepared(root: Path, masks: list[bytes], expressions: int) -> None:
    """Write a prepared set of one split with a ref per three expressions; no image is needed."""
    folder = root / SET
    folder.mkdir(parents=True)
    refs = []
    for number in range(-(-expressions // SENTENCES_PER_REF)):
        names = range(number * SENTENCES_PER_REF, min(expressions, (number + 1) * SENTENCES_PER_REF))
        image = ImageInfo(image_id=number // 2, file_name=f"{number // 2:012d}.jpg", height=HEIGHT, width=WIDTH)
        refs.append(
            SourceRef(
                ref_id=number,
                image=image,
                ann_id=number,
                category_id=1,
                split=PART,
                sent_ids=tuple(names),
                expressions=tuple(f"the blob number {name}" for name in names),
                mask_rle=masks[number % len(masks)],
            )
        )
    table = ref_table(refs, {})
    pq.write_table(table, folder / f"{PART}.parquet", compression="zstd", write_page_checksum=True)
    (folder / TOKENIZER).write_bytes(b"")
    tokenizer, rows = file_fingerprint(b""), {PART: rows_digest(table)}
    manifest = Manifest(
        schema_version=PREPARED_VERSION,
        set=SET,
        family=SET,
        image_root=str(root),
        embedded=False,
        images_read=False,
        splits={PART: count_table(table)},
        fingerprint=set_fingerprint(SET, rows, tokenizer, version=PREPARED_VERSION),
        tokenizer_fingerprint=tokenizer,
        tokenizer_training=(),
        signature="",
        source=(),
        rows_digests=rows,
        file_digests={PART: file_digest((folder / f"{PART}.parquet").read_bytes())},
    )
    (folder / MANIFEST).write_bytes(manifest_json(manifest))


def entries(masks: list[bytes], expressions: int) -> Iterator[tuple[int, bytes]]:
    """Yield (sent_id, counts) in a mixed order; every third prediction is another shape than the true one."""
    order = np.random.default_rng(1).permutation(expressions)
    for sent_id in order.tolist():
        ref = sent_id // SENTENCES_PER_REF
        yield sent_id, masks[(ref + (sent_id % 3 == 0)) % len(masks)]


def write_forms(folder: Path, masks: list[bytes], expressions: int) -> dict[str, Path]:
    """Write the predictions in every form that is timed."""
    found = list(entries(masks, expressions))
    size = [HEIGHT, WIDTH]
    texts = {counts: json.dumps({"size": size, "counts": counts.decode()}) for counts in masks}
    lines = [f'{{"sent_id": {sent_id}, "segmentation": {texts[counts]}}}' for sent_id, counts in found]
    (folder / "masks.jsonl").write_text("\n".join(lines))
    (folder / "masks.json").write_text(f"[{', '.join(lines)}]")
    table = {
        "sent_id": [sent_id for sent_id, _ in found],
        "segmentation": [{"size": size, "counts": counts} for _, counts in found],
    }
    pq.write_table(pa.table(table), folder / "masks.parquet")
    return {
        "JSON Lines": folder / "masks.jsonl",
        "one JSON array": folder / "masks.json",
        "parquet": folder / "masks.parquet",
    }


def write_pngs(folder: Path, shapes: list[np.ndarray], count: int) -> Path:
    """Write a PNG per expression of a smaller split."""
    folder.mkdir()
    for sent_id in range(count):
        shape = shapes[(sent_id // SENTENCES_PER_REF) % len(shapes)]
        Image.fromarray(shape.astype(np.uint8) * 255).save(folder / f"{sent_id}.png")
    return folder


def timed(path: Path, prepared: Path, runs: Path) -> tuple[float, float, float]:
    """Score in a new process; return seconds, CPU seconds and peak memory in MiB."""
    command = [
        *(sys.executable, "-m", "pipeline.cli.main", "score", str(path), "--data", SET, "--split", PART),
        *("--name", "bench", "--prepared", str(prepared), "--runs", str(runs)),
    ]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"sharedris score {path.name} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Time every form and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expressions", type=int, default=EXPRESSIONS)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "score.md")
    args = parser.parse_args()
    generator = np.random.default_rng(0)
    shapes = [blob(generator) for _ in range(SHAPES)]
    masks = [encode_mask(shape) for shape in shapes]
    load = os.getloadavg()[0]
    rows, targets = [], ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_prepared(folder / "prepared", masks, args.expressions)
        for form, path in write_forms(folder, masks, args.expressions).items():
            seconds, cpu, memory = timed(path, folder / "prepared", folder / f"runs-{path.suffix}")
            rows.append(_row(form, args.expressions, seconds, cpu, memory))
            if not targets:
                targets = f"| 60 s | {seconds / 60:.2f} |\n| 60 s of CPU | {cpu / 60:.2f} |\n"
                targets += f"| 2 GiB peak memory | {memory / 2048:.2f} |"
        few = min(PNGS, args.expressions)
        write_prepared(folder / "few", masks, few)
        pngs = write_pngs(folder / "png", shapes, few)
        rows.append(_row("folder of PNG", few, *timed(pngs, folder / "few", folder / "runs-png")))
    mean = sum(map(len, masks)) / len(masks)
    text = (
        f"`sharedris score` on made-up masks of {WIDTH}x{HEIGHT} pixels, {mean:.0f} bytes of RLE on average, "
        f"{os.cpu_count()} cores, load {load:.1f} before.\n\n"
        "| form | predictions | seconds | CPU seconds | predictions per CPU second | peak MiB |\n"
        "|---|---:|---:|---:|---:|---:|\n"
        + "\n".join(rows)
        + f"\n\n| target (JSON Lines) | measured / target |\n|---|---:|\n{targets}\n"
    )
    print(text)
    args.out.write_text(text, encoding="utf-8")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"(Writing the made-up masks took {peak:.0f} MiB in this process and is not counted.)")


def _row(form: str, count: int, seconds: float, cpu: float, memory: float) -> str:
    return f"| {form} | {count:,} | {seconds:.1f} | {cpu:.1f} | {count / cpu:,.0f} | {memory:.0f} |"


if __name__ == "__main__":
    main()
