"""Panels of attention maps per component (figures 7, 8, 10, 11), from what evaluation stored for a few samples.

The format: `RUNS/attention/RUN/NAME.npz`, one file per sample, no pickles, NAME free (sorted by it). Arrays:

    image       uint8 (H, W, 3)   the image as the model saw it (square, not normalised)
    expression  str, 0-d          the sentence
    split       str, 0-d          in full, `toyplus_unc/val`
    index       int, 0-d          position in the split
    encoder     float (g, g)      weights of the text class token on the patches, mean over heads: last layer
    fpn         float (g, g)      the same, mean over the FPN's stages; left out where the variant has none
    decoder     float (g, g)      the same, last decoder layer; left out where the variant has none
    prediction  bool (H, W)       optional: the predicted mask
    mask        bool (H, W)       optional: the ground truth

as the paper's supplement describes ("the row of the textual [CLS] token"). Each map is shown between its own least and
largest weight: colours compare places inside a map, not maps with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.image_grid import image_grid, show_pixels, show_sentence
from reports.mask_gallery import RUN_COLOUR, TRUTH_COLOUR, tint
from reports.style import INK, MUTED, styled

COMPONENTS = ("encoder", "fpn", "decoder")
NEEDED = ("image", "expression", "split", "index")
ROWS = 6
COLORS = "inferno"


@dataclass(frozen=True, kw_only=True)
class AttentionSample:
    """What one file holds."""

    image: np.ndarray
    expression: str
    split: str
    index: int
    maps: dict[str, np.ndarray]
    prediction: np.ndarray | None
    mask: np.ndarray | None


def read_attention(root: Path, run_id: str) -> tuple[list[AttentionSample], list[str]]:
    """Return the attention maps stored for a run, sorted by file name, and the problems met."""
    samples, problems = [], []
    for path in sorted((Path(root) / "attention" / run_id).glob("*.npz")):
        try:
            samples.append(_read(path))
        except Exception as error:  # a damaged archive raises nearly any type
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            problems.append(f"attention maps left out: {path}: {reason}")
    return samples, problems


def _read(path: Path) -> AttentionSample:
    # Opened here: numpy leaves the file open where the archive is damaged.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        if missing := [name for name in NEEDED if name not in arrays]:
            raise KeyError(f"lacks {', '.join(missing)}")
        sample = AttentionSample(
            image=arrays["image"],
            expression=str(arrays["expression"]),
            split=str(arrays["split"]),
            index=int(arrays["index"]),
            maps={name: arrays[name] for name in COMPONENTS if name in arrays},
            prediction=arrays["prediction"].astype(bool) if "prediction" in arrays else None,
            mask=arrays["mask"].astype(bool) if "mask" in arrays else None,
        )
    _require_shapes(sample)
    return sample


def _require_shapes(sample: AttentionSample) -> None:
    """Raise ValueError for arrays that cannot be drawn: one such file must not end the page."""
    if sample.image.dtype != np.uint8 or sample.image.ndim != 3 or sample.image.shape[2] != 3 or not sample.image.size:
        raise ValueError(f"the image has shape {sample.image.shape} and type {sample.image.dtype}")
    for name, values in sample.maps.items():
        if values.dtype.kind != "f" or values.ndim != 2 or not values.size or not np.isfinite(values).all():
            raise ValueError(
                f"the map {name} has shape {values.shape} and type {values.dtype}, or a value is not finite"
            )
    for mask in (sample.prediction, sample.mask):
        if mask is not None and mask.shape != sample.image.shape[:2]:
            raise ValueError(f"a mask has shape {mask.shape}, the image {sample.image.shape}")


@styled
def draw_components(samples: list[AttentionSample], title: str) -> Figure | None:
    """Draw image, a map per component, prediction and ground truth, a row per sample (figures 7 and 10)."""
    shown = samples[:ROWS]
    if not shown:
        return None
    names = ["image", *COMPONENTS, "prediction", "ground truth"]
    figure, grid = image_grid(names, [sample.image.shape for sample in shown], title)
    for line, sample in zip(grid, shown, strict=True):
        show_pixels(line[0], sample.image)
        show_sentence(line[0], sample.expression, len(names))
        for axes, component in zip(line[1:], COMPONENTS, strict=False):
            _map(axes, sample, component)
        _overlay(line[-2], sample.image, sample.prediction, RUN_COLOUR)
        _overlay(line[-1], sample.image, sample.mask, TRUTH_COLOUR)
    _scale(figure)
    return figure


@styled
def draw_runs(by_run: dict[str, list[AttentionSample]], title: str) -> Figure | None:
    """Draw the last component's map of several runs for the samples that all of them stored (figures 8 and 11)."""
    keyed = {label: {(s.split, s.index): s for s in samples} for label, samples in by_run.items() if samples}
    common = sorted(set.intersection(*(set(samples) for samples in keyed.values()))) if len(keyed) > 1 else []
    if not common:
        return None
    names = ["image", *keyed]
    first = [next(iter(keyed.values()))[key] for key in common[:ROWS]]
    figure, grid = image_grid(names, [sample.image.shape for sample in first], title)
    for line, sample in zip(grid, first, strict=True):
        show_pixels(line[0], sample.image)
        show_sentence(line[0], sample.expression, len(names))
        for axes, samples in zip(line[1:], keyed.values(), strict=True):
            mine = samples[sample.split, sample.index]
            _map(axes, mine, next((name for name in reversed(COMPONENTS) if name in mine.maps), ""))
    _scale(figure)
    return figure


def _scale(figure: Figure) -> None:
    """Draw below the grid what the colors of the maps mean: each map has a scale of its own."""
    height = figure.get_figheight()
    axes = figure.add_axes((0.42, 0.08 / height, 0.16, 0.1 / height))
    axes.imshow(np.linspace(0, 1, 128)[None], cmap=COLORS, aspect="auto", extent=(0, 1, 0, 1))
    axes.set_axis_off()
    for place, text, side in ((-0.04, "attention: lowest of a map", "right"), (1.04, "highest of that map", "left")):
        axes.text(place, 0.5, text, transform=axes.transAxes, ha=side, va="center", fontsize=9, color=MUTED)


def _map(axes: Axes, sample: AttentionSample, component: str) -> None:
    height, width = sample.image.shape[:2]
    if component in sample.maps:
        axes.imshow(sample.image.mean(axis=2), cmap="gray", vmin=-60, vmax=315)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axes.imshow(sample.maps[component], cmap=COLORS, alpha=0.62, extent=extent, interpolation="bilinear")
    else:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=INK)


def _overlay(axes: Axes, image: np.ndarray, mask: np.ndarray | None, colour: np.ndarray) -> None:
    if mask is None:
        axes.text(0.5, 0.5, "not stored", transform=axes.transAxes, ha="center", va="center", color=INK)
    else:
        show_pixels(axes, tint(image, mask, colour))
