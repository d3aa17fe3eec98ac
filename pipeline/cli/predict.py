"""`sharedris predict`: one image, one or more sentences, an overlay of the masks; attention maps on request."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from PIL import Image

from pipeline.cli.machine_output import print_json
from pipeline.cli.model_folder import find_model_folder
from pipeline.cli.predict_options import Options
from pipeline.files import require_writable
from sharedris.errors import InputError
from sharedris.overlay import draw_attention, draw_overlay
from sharedris.predictor import Predictor, open_image


def run(options: Options) -> int:
    """Write the overlay and print what each sentence covers."""
    if options.threshold is not None and not 0 < options.threshold < 1:
        raise InputError(f"--threshold {options.threshold} is not a probability", "Give a value between 0 and 1")
    for folder in (options.out.parent, options.attention):
        if folder is not None:
            require_writable(folder, "--out or --attention")
    if not options.text:
        raise InputError("no sentence is given", "Write one in quotes after the image")
    image = open_image(options.image)
    predictor = Predictor.from_run(
        find_model_folder(options.run, options.runs), "cuda" if torch.cuda.is_available() else "cpu"
    )
    predictor.threshold = options.threshold or predictor.threshold
    started = time.perf_counter()
    predictions = predictor.predict_all(image, options.text, attention=options.attention is not None)
    seconds = time.perf_counter() - started
    _save(draw_overlay(image, predictions), options.out)
    for index, prediction in enumerate(predictions):
        print(f"{100 * prediction.area_ratio:5.1f} % of the image: {prediction.sentence}")
        if prediction.unknown_pieces.unknown:
            print(f"        {prediction.unknown_pieces}: the model does not read them")
        if options.attention:
            _save(draw_attention(image, prediction), options.attention / f"attention_{index}.png")
    print(f"wrote {options.out}, {image.width}x{image.height} pixels, {seconds:.2f} s")
    if options.attention:
        print(f"wrote {len(predictions)} attention image(s) to {options.attention}")
    if options.json:
        print_json(
            {"out": options.out, "sentences": [{"text": p.sentence, "area_ratio": p.area_ratio} for p in predictions]}
        )
    return 0


def _save(picture: Image.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {error}", "Give a path that ends in .png or .jpg") from None
