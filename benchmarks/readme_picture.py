"""The picture of the README: masks of the reference's Shared-RIS, from the image it answers well to one it misses.

    make data && .venv/bin/python -m benchmarks.readme_picture

Reads benchmarks/reference/fpn-tiny (no training) and the prepared set toyplus_unc, and writes docs/images/masks.png.
The images are not chosen by hand: they have the IoU at which 90, 70, 50, 30 and 10 % of the images are lower.
"""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from pipeline.data.masks import decode_filled_mask
from reports.ground_truth import Truth, load_truth
from reports.image_grid import show_pixels
from reports.load import load_runs
from reports.mask_gallery import RUN_COLOUR, tint

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "benchmarks" / "reference" / "fpn-tiny"
OUT = ROOT / "docs" / "images" / "masks.png"
CELL = "VII-a/{3, 6, 9, 12}"
SPLIT = "toyplus_unc/val"
SHARES = (0.9, 0.7, 0.5, 0.3, 0.1)
COLUMNS = ["image_id", "file_name", "ref_id", "expression", "height", "width", "iou_original", "mask_rle"]


def main() -> None:
    """Write the picture."""
    runs = load_runs(REFERENCE)
    records = runs.records[runs.records["seed"] == 0]
    run_id = records.loc[[CELL in cells for cells in records["cells"]], "run_id"].iloc[0]
    samples = runs.samples(run_id, SPLIT, COLUMNS)
    one_each = samples.drop_duplicates("image_id").sort_values("iou_original", kind="stable")
    chosen = [one_each.iloc[round(share * (len(one_each) - 1))] for share in SHARES]
    truth = load_truth(ROOT / "data" / "prepared", SPLIT)
    figure = Figure(figsize=(9.4, 3.7))
    grid = figure.subplots(2, len(chosen))
    figure.subplots_adjust(left=0.01, right=0.99, top=0.87, bottom=0.07, wspace=0.05, hspace=0.03)
    for column, sample in enumerate(chosen):
        draw(grid[:, column], sample, truth)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    OUT.parent.mkdir(exist_ok=True)
    Image.open(stream).convert("RGB").quantize(255, dither=Image.Dither.NONE).save(OUT, optimize=True)
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size / 1000:.0f} kB")


def draw(axes: np.ndarray, sample: dict[str, object], truth: Truth) -> None:
    """Draw an image, and below it the predicted mask with its IoU."""
    image = truth.image(str(sample["file_name"]))
    if image is None:
        raise SystemExit(f"{sample['file_name']} is not in data/prepared: run make data")
    height, width, _ = image.shape
    mask = decode_filled_mask(bytes(sample["mask_rle"]), height=height, width=width).astype(bool)
    for each in axes:
        each.set_axis_off()
    show_pixels(axes[0], image)
    axes[0].set_title(textwrap.fill(f"“{sample['expression']}”", 28), fontsize=9.5)
    show_pixels(axes[1], tint(image, mask, RUN_COLOUR), f"IoU {100 * sample['iou_original']:.0f} %")


if __name__ == "__main__":
    main()
