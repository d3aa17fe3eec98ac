"""`sharedris demo`: a trained model as one HTML page that works from disk, offline."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.export import first_split
from pipeline.cli.model_folder import find_model_folder
from pipeline.files import atomic_writer, require_writable
from pipeline.object_store.address import runs_folder
from sharedris.errors import InputError

if TYPE_CHECKING:
    from pipeline.demo.page import Example
    from sharedris.checkpoint import SavedModel

_EXAMPLES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", metavar="RUN", help="id of a run, or a model folder")
    parser.add_argument(
        "--out", type=Path, default=Path("demo.html"), help="page to write, F.html (default: %(default)s)"
    )
    parser.add_argument(
        "--examples",
        metavar="SET/SPLIT",
        help="put pictures of this split into the page (default: the run's first split if it is synthetic; pictures of "
        "other sets may not be yours to pass on)",
    )
    parser.add_argument("--prepared", default="data/prepared", help="root of prepared sets (default: %(default)s)")
    parser.add_argument(
        "--runs", type=runs_folder, default=Path("runs"), help="root of the runs (default: %(default)s)"
    )
    parser.add_argument(
        "--runtime", type=Path, metavar="FILE.tgz", help="archive of onnxruntime-web (default: fetched once by npm)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the page, and print its size."""
    if args.out.suffix != ".html":
        raise InputError(f"--out {args.out} does not end in .html", f"Write --out {args.out.with_suffix('.html')}")
    require_writable(args.out.absolute().parent, "--out")
    from pipeline.demo.page import write_page
    from pipeline.demo.runtime import load_runtime
    from sharedris.checkpoint import load_model

    saved = load_model(find_model_folder(args.run, args.runs))
    runtime = load_runtime(args.runtime)
    content = write_page(saved, runtime, _summary(args.runs, saved), _examples(args, saved))
    with atomic_writer(args.out) as stream:
        stream.write(content)
    print(f"wrote {args.out}, {len(content) / 2**20:.1f} MiB: open it in a browser; it needs no network")
    return 0


def _summary(runs_root: Path, saved: SavedModel) -> str:
    """Return what the model is, with its score where it has a record."""
    from pipeline.records import RECORD_SCHEMA, read_table, record_path

    text = f"A Shared-RIS model at the {saved.config.scale} scale"
    path = record_path(runs_root, saved.run_id)
    if not path.exists():
        return f"{text}."
    rows = read_table(path, RECORD_SCHEMA)
    row = rows[rows["protocol"] == "original"].iloc[0]
    return f"{text}, oIoU {100 * row['oiou']:.1f} on {row['samples']} sentences of {row['split']}."


def _examples(args: argparse.Namespace, saved: SavedModel) -> list[Example]:
    """Return pictures of a split, spread evenly, in the order of the split."""
    from PIL import Image

    from pipeline.demo.page import Example
    from pipeline.model_export.samples import open_split, prepared_split
    from sharedris.pixels import decode_image

    first = first_split(args.runs, saved.run_id)
    split = args.examples or prepared_split(args.prepared, first if first and first.startswith("toy") else None)
    if not split:
        return []
    dataset = open_split(args.prepared, split, saved)
    found: dict[str, Example] = {}
    for place in range(0, len(dataset), max(1, len(dataset) // _EXAMPLES)):
        info = dataset.info(place)
        stream = io.BytesIO()
        image_HWC = decode_image(dataset.images.content(info.file_name), name=info.file_name)
        Image.fromarray(image_HWC).save(stream, format="PNG")
        found.setdefault(info.file_name, Example(png=stream.getvalue(), sentence=info.expression))
    return list(found.values())[:_EXAMPLES]
