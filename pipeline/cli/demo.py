"""`sharedris demo`: a trained model as one HTML page that works from disk, offline."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from pipeline.cli.common_options import CommonOptions, RunsFolder
from pipeline.cli.export import first_split
from pipeline.cli.machine_output import add_result
from pipeline.cli.model_folder import find_model_folder
from pipeline.files import atomic_writer, require_writable
from sharedris.errors import InputError

if TYPE_CHECKING:
    from pipeline.demo.page import Example
    from sharedris.checkpoint import SavedModel

_EXAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Which model, and what goes into the page."""

    run: tyro.conf.Positional[str]
    """Id of a run, or a model folder."""
    out: Path = Path("demo.html")
    """Page to write, F.html."""
    examples: str | None = None
    """SET/SPLIT whose pictures are put into the page (default: the run's first split if it is synthetic; pictures of
    other sets may not be yours to pass on)."""
    prepared: str = "data/prepared"
    """Root of prepared sets, folder or URI."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""
    runtime: Path | None = None
    """Archive of onnxruntime-web, F.tgz (default: fetched once by npm)."""


def run(options: Options) -> int:
    """Write the page, and print its size."""
    if options.out.suffix != ".html":
        raise InputError(
            f"--out {options.out} does not end in .html", f"Write --out {options.out.with_suffix('.html')}"
        )
    require_writable(options.out.absolute().parent, "--out")
    from pipeline.demo.page import write_page
    from pipeline.demo.runtime import load_runtime
    from sharedris.checkpoint import load_model

    saved = load_model(find_model_folder(options.run, options.runs))
    runtime = load_runtime(options.runtime)
    content = write_page(saved, runtime, _summary(options.runs, saved), _examples(options, saved))
    with atomic_writer(options.out) as stream:
        stream.write(content)
    add_result(file=options.out, bytes=len(content))
    print(f"wrote {options.out}, {len(content) / 2**20:.1f} MiB: open it in a browser; it needs no network")
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


def _examples(options: Options, saved: SavedModel) -> list[Example]:
    """Return pictures of a split, spread evenly, in the order of the split."""
    from PIL import Image

    from pipeline.demo.page import Example
    from pipeline.evaluation.split_samples import split_of_model
    from pipeline.model_export.samples import prepared_split
    from sharedris.pixels import decode_image

    first = first_split(options.runs, saved.run_id)
    split = options.examples or prepared_split(options.prepared, first if first and first.startswith("toy") else None)
    if not split:
        return []
    dataset = split_of_model(options.prepared, split, saved)
    found: dict[str, Example] = {}
    for place in range(0, len(dataset), max(1, len(dataset) // _EXAMPLES)):
        info = dataset.info(place)
        stream = io.BytesIO()
        image_HWC = decode_image(dataset.images.content(info.file_name), name=info.file_name)
        Image.fromarray(image_HWC).save(stream, format="PNG")
        found.setdefault(info.file_name, Example(png=stream.getvalue(), sentence=info.expression))
    return list(found.values())[:_EXAMPLES]
