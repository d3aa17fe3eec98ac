"""`sharedris export`: a trained model as one checked file that other programs run, or as a folder for the Hub."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.model_folder import find_model_folder
from pipeline.cli.run_options import positive_int
from pipeline.files import require_writable
from pipeline.object_store.address import runs_folder
from sharedris.errors import InputError

if TYPE_CHECKING:
    from sharedris.checkpoint import SavedModel

SUFFIXES = {"torch-export": ".pt2", "onnx": ".onnx"}
HUB, COCO = "hub", "coco"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", metavar="RUN", help="id of a run, or a model folder")
    parser.add_argument(
        "--format",
        required=True,
        choices=[*SUFFIXES, HUB, COCO],
        help="the model: torch's own, ONNX, or a folder for the Hugging Face Hub; coco: the scored samples of a split",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="F", help="F.pt2, F.onnx, or the folder of hub and coco"
    )
    parser.add_argument("--push", metavar="USER/NAME", help="hub: also upload the folder, as a private model")
    parser.add_argument("--public", action="store_true", help="hub: make a pushed model public")
    parser.add_argument("--attention", action="store_true", help="attention maps as further outputs")
    parser.add_argument(
        "--int8", action="store_true", help="also write F.int8.onnx, and score the whole split with both"
    )
    parser.add_argument(
        "--split",
        metavar="SET/SPLIT",
        help="of the check and of coco (default: the first that the run was scored on; the check takes random inputs "
        "where there is none)",
    )
    parser.add_argument(
        "--samples", type=positive_int, default=100, metavar="N", help="compared with the model (default: %(default)s)"
    )
    parser.add_argument("--prepared", default="data/prepared", help="root of prepared sets (default: %(default)s)")
    parser.add_argument(
        "--runs", type=runs_folder, default=Path("runs"), help="root of the runs (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the file or the folder."""
    _check(args)
    from sharedris.checkpoint import load_model

    saved = load_model(find_model_folder(args.run, args.runs))
    writers = {HUB: _write_hub, COCO: _write_coco}
    return writers.get(args.format, _write_graph)(args, saved)


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together before anything is loaded."""
    suffix = SUFFIXES.get(args.format)
    if suffix and args.out.suffix != suffix:
        raise InputError(f"--out {args.out} does not end in {suffix}", f"Write --out {args.out.with_suffix(suffix)}")
    if args.push and args.format != HUB:
        raise InputError(f"--push uploads a folder, not {args.format}", "Use --format hub")
    if args.public and not args.push:
        raise InputError("--public is of a pushed model", "Add --push USER/NAME")
    require_writable(args.out.absolute().parent, "--out")


def _write_hub(args: argparse.Namespace, saved: SavedModel) -> int:
    from pipeline.model_export.hub_folder import push_folder, write_hub_folder

    for path in write_hub_folder(saved, args.runs, args.out):
        print(f"wrote {path}, {path.stat().st_size:,} bytes")
    if args.push:
        print(f"pushed {push_folder(args.out, args.push, private=not args.public)}")
    return 0


def _write_coco(args: argparse.Namespace, saved: SavedModel) -> int:
    from pipeline.model_export.coco_samples import write_coco_samples
    from pipeline.model_export.samples import open_split

    split = args.split or first_split(args.runs, saved.run_id)
    if split is None:
        raise InputError(f"{saved.run_id} has no record below {args.runs}", "Name its runs folder by --runs")
    for path in write_coco_samples(args.runs, saved.run_id, open_split(args.prepared, split, saved), args.out):
        print(f"wrote {path}, {path.stat().st_size:,} bytes")
    return 0


def _write_graph(args: argparse.Namespace, saved: SavedModel) -> int:
    """Print what was compared and measured, too."""
    import torch

    from pipeline.model_export.export import ExportRequest, export_model, table
    from pipeline.model_export.samples import open_split, prepared_split

    split = args.split or prepared_split(args.prepared, first_split(args.runs, saved.run_id))
    dataset = open_split(args.prepared, split, saved) if split else None
    request = ExportRequest(
        path=args.out,
        kind=args.format,
        attention=args.attention,
        int8=args.int8,
        dataset=dataset,
        samples=args.samples,
    )
    forms = export_model(saved, request)
    compared = forms[1].comparison
    assert compared is not None
    print(f"{saved.run_id}: {saved.config.variant}")
    print(f"checked on {compared.samples} {'samples of ' + split if split else 'random inputs'}: {compared}")
    print(f"\n{table(forms)}\n")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for path in (args.out, *([request.int8_path] if args.int8 else [])):
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
