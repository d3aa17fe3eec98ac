"""`sharedris export`: a trained model as one checked file that other programs run, or as a folder for the Hub."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from pipeline.cli.common_options import CommonOptions, Flag, RunsFolder, require_positive
from pipeline.cli.machine_output import add_result
from pipeline.cli.model_folder import find_model_folder
from pipeline.files import require_writable
from sharedris.errors import InputError

if TYPE_CHECKING:
    from sharedris.checkpoint import SavedModel

SUFFIXES = {"torch-export": ".pt2", "onnx": ".onnx"}
HUB, COCO = "hub", "coco"


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Which model, in which form, and how it is checked."""

    run: tyro.conf.Positional[str]
    """Id of a run, or a model folder."""
    format: Literal["torch-export", "onnx", "hub", "coco"]
    """The model: torch's own, ONNX, or a folder for the Hugging Face Hub; coco: the scored samples of a split."""
    out: Path
    """F.pt2, F.onnx, or the folder of hub and coco."""
    push: str | None = None
    """hub: also upload the folder as USER/NAME, as a private model."""
    public: Flag = False
    """hub: make a pushed model public."""
    attention: Flag = False
    """Attention maps as further outputs."""
    int8: Flag = False
    """Also write F.int8.onnx, and score the whole split with both."""
    split: str | None = None
    """SET/SPLIT of the check and of coco (default: the first that the run was scored on; the check takes random inputs
    where there is none)."""
    samples: int = 100
    """Compared with the model."""
    prepared: str = "data/prepared"
    """Root of prepared sets, folder or URI."""
    runs: RunsFolder = Path("runs")
    """Root of the runs."""


def run(options: Options) -> int:
    """Write the file or the folder."""
    _check(options)
    from sharedris.checkpoint import load_model

    saved = load_model(find_model_folder(options.run, options.runs))
    writers = {HUB: _write_hub, COCO: _write_coco}
    return writers.get(options.format, _write_graph)(options, saved)


def _check(options: Options) -> None:
    """Refuse what does not go together before anything is loaded."""
    require_positive(options, "samples")
    suffix = SUFFIXES.get(options.format)
    if suffix and options.out.suffix != suffix:
        raise InputError(
            f"--out {options.out} does not end in {suffix}", f"Write --out {options.out.with_suffix(suffix)}"
        )
    if options.push and options.format != HUB:
        raise InputError(f"--push uploads a folder, not {options.format}", "Use --format hub")
    if options.public and not options.push:
        raise InputError("--public is of a pushed model", "Add --push USER/NAME")
    require_writable(options.out.absolute().parent, "--out")


def _write_hub(options: Options, saved: SavedModel) -> int:
    from pipeline.model_export.hub_folder import push_folder, write_hub_folder

    paths = write_hub_folder(saved, options.runs, options.out)
    add_result(files=paths)
    for path in paths:
        print(f"wrote {path}, {path.stat().st_size:,} bytes")
    if options.push:
        print(f"pushed {push_folder(options.out, options.push, private=not options.public)}")
    return 0


def _write_coco(options: Options, saved: SavedModel) -> int:
    from pipeline.evaluation.split_samples import split_of_model
    from pipeline.model_export.coco_samples import write_coco_samples

    split = options.split or first_split(options.runs, saved.run_id)
    if split is None:
        raise InputError(f"{saved.run_id} has no record below {options.runs}", "Name its runs folder by --runs")
    dataset = split_of_model(options.prepared, split, saved)
    paths = write_coco_samples(options.runs, saved.run_id, dataset, options.out)
    add_result(files=paths)
    for path in paths:
        print(f"wrote {path}, {path.stat().st_size:,} bytes")
    return 0


def _write_graph(options: Options, saved: SavedModel) -> int:
    """Print what was compared and measured, too."""
    import torch

    from pipeline.evaluation.split_samples import split_of_model
    from pipeline.model_export.export import ExportRequest, export_model, table
    from pipeline.model_export.samples import prepared_split

    split = options.split or prepared_split(options.prepared, first_split(options.runs, saved.run_id))
    dataset = split_of_model(options.prepared, split, saved) if split else None
    request = ExportRequest(
        path=options.out,
        kind=options.format,
        attention=options.attention,
        int8=options.int8,
        dataset=dataset,
        samples=options.samples,
    )
    forms = export_model(saved, request)
    compared = forms[1].comparison
    assert compared is not None
    print(f"{saved.run_id}: {saved.config.variant}")
    print(f"checked on {compared.samples} {'samples of ' + split if split else 'random inputs'}: {compared}")
    print(f"\n{table(forms)}\n")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    paths = [options.out, *([request.int8_path] if options.int8 else [])]
    add_result(files=paths, compared=dataclasses.asdict(compared))
    for path in paths:
        print(f"wrote {path}, {path.stat().st_size:,} bytes")
    return 0


def first_split(runs_root: Path, run_id: str) -> str | None:
    """Return the first split that a run's record holds, or None without a record."""
    from pipeline.records import RECORD_SCHEMA, read_table, record_path

    path = record_path(runs_root, run_id)
    if not path.exists():
        return None
    splits: list[str] = json.loads(read_table(path, RECORD_SCHEMA)["config_json"][0])["data"]["evaluate_splits"]
    return splits[0] if splits else None
