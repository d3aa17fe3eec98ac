"""Grids of images with a sentence above each row: the frame that mask galleries and attention panels share."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.style import INK, MUTED

CELL_INCHES = 1.75
ROW_GAP_INCHES = 0.52  # holds the line below a row and the sentence above the next
COLUMN_GAP_INCHES = 0.1
HEAD_INCHES = 0.78
MARGIN_INCHES = 0.12
FOOT_INCHES = 0.3
MOST_ASPECT = 1.35  # height / width of a cell: a taller image is drawn narrower


def image_grid(names: list[str], shapes: list[tuple[int, ...]], title: str) -> tuple[Figure, np.ndarray]:
    """Return a figure and its (rows, columns) axes, with a name above each column; no layout engine, so it is quick.

    Args:
        names: of the columns.
        shapes: (height, width, ..) of the images of each row, so that no room is left empty.
        title: above all.
    """
    rows, columns = len(shapes), len(names)
    heights = [CELL_INCHES * min(MOST_ASPECT, height / width) for height, width, *_ in shapes]
    width = 2 * MARGIN_INCHES + columns * CELL_INCHES + (columns - 1) * COLUMN_GAP_INCHES
    height = HEAD_INCHES + sum(heights) + (rows - 1) * ROW_GAP_INCHES + FOOT_INCHES
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    figure.subplots_adjust(
        left=MARGIN_INCHES / width,
        right=1 - MARGIN_INCHES / width,
        top=1 - HEAD_INCHES / height,
        bottom=FOOT_INCHES / height,
        wspace=COLUMN_GAP_INCHES / CELL_INCHES,
        hspace=ROW_GAP_INCHES / (sum(heights) / rows),
    )
    for each in axes.ravel():
        each.set_axis_off()
        each.set_anchor("N")
    for position, name in enumerate(names):
        left = MARGIN_INCHES + position * (CELL_INCHES + COLUMN_GAP_INCHES) + CELL_INCHES / 2
        place = (left / width, 1 - 0.36 / height)
        figure.text(*place, name, ha="center", va="center", fontweight="bold", fontsize=9.5)
    figure.text(MARGIN_INCHES / width, 1 - 0.12 / height, title, va="center", fontsize=10, color=MUTED)
    return figure, axes


def show_pixels(axes: Axes, pixels: np.ndarray, below: str = "") -> None:
    """Draw an image and a line below it."""
    axes.imshow(pixels, interpolation="nearest" if max(pixels.shape) < 150 else "antialiased")
    if below:
        axes.text(0.5, -0.03, below, transform=axes.transAxes, ha="center", va="top", fontsize=9, color=MUTED)


def show_sentence(axes: Axes, sentence: str, columns: int) -> None:
    """Write a sentence above the first image of a row, cut to the grid's width; no sign in it is read as a command."""
    words, most = " ".join(sentence.split()), 21 * columns
    text = words if len(words) <= most else f"{words[: most - 1]}…"
    axes.annotate(
        f"“{text}”",
        (0, 1),
        xytext=(0, 4),
        textcoords="offset points",
        xycoords="axes fraction",
        fontsize=9,
        color=INK,
        parse_math=False,
        annotation_clip=False,
    )
