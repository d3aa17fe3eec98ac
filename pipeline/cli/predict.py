"""`sharedris predict`: one image, one or more sentences, an overlay of the masks; attention maps on request."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from PIL import Image

from pipeline.cli.model_folder import find_model_folder
from pipeline.files import require_writable
from pipeline.object_store.address import runs_folder
from sharedris.errors import InputError
from sharedris.overlay import draw_attention, draw_overlay
from sharedris.predictor import Predictor, open_image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", type=Path, help="image file")
    parser.add_argument("text", nargs="+", help="one or more sentences, each in quotes")
    parser.add_argument("--run", required=True, help="model folder, or the id of a run below --runs-root")
    parser.add_argument("--runs-root", type=runs_folder, default=Path("runs"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("overlay.png"), help="image to write (default: %(default)s)")
    parser.add_argument(
        "--attention", type=Path, metavar="DIR", help="also write an image of attention maps per sentence"
    )
    parser.add_argument("--threshold", type=float, help="lowest probability of a foreground pixel (default: the run's)")


def run(args: argparse.Namespace) -> int:
    """Write the overlay and print what each sentence covers."""
    if args.threshold is not None and not 0 < args.threshold < 1:
        raise InputError(f"--threshold {args.threshold} is not a probability", "Give a value between 0 and 1")
    for folder in (args.out.parent, args.attention):
        if folder is not None:
            require_writable(folder, "--out or --attention")
    image = open_image(args.image)
    predictor = Predictor.from_run(
        find_model_folder(args.run, args.runs_root), "cuda" if torch.cuda.is_available() else "cpu"
    )
    predictor.threshold = args.threshold or predictor.threshold
    started = time.perf_counter()
    predictions = predictor.predict_all(image, args.text, attention=args.attention is not None)
    seconds = time.perf_counter() - started
    _save(draw_overlay(image, predictions), args.out)
    for index, prediction in enumerate(predictions):
        print(f"{100 * prediction.area_ratio:5.1f} % of the image: {prediction.sentence}")
        if prediction.unknown_pieces.unknown:
            print(f"        {prediction.unknown_pieces}: the model does not read them")
        if args.attention:
            _save(draw_attention(image, prediction), args.attention / f"attention_{index}.png")
    print(f"wrote {args.out}, {image.width}x{image.height} pixels, {seconds:.2f} s")
    if args.attention:
        print(f"wrote {len(predictions)} attention image(s) to {args.attention}")
    return 0


def _save(picture: Image.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {error}", "Give a path that ends in .png or .jpg") from None
