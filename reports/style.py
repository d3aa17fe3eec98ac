"""How the report's plots look: one drawing, three uses (light file, dark file, inline in the page).

Colours are told apart with the common colour-vision deficiencies (after Okabe and Ito) and every series has its own
marker and dash too. A plot is drawn once, in light colours; the dark file and the page's variant only swap them.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import matplotlib
import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from pipeline.files import write_file

COLUMN_INCHES, TEXT_INCHES = 3.48, 7.13
"""Widths of a column and of the text of two-column papers (IEEE: 252 and 516 points of TeX), and a hair less."""
PAPER_SCALE, SMALLEST_POINTS = 0.7, 6.0
"""Of text and lines in a PDF: 10.5 points become 7.4."""
P = ParamSpec("P")
R = TypeVar("R")
INK, MUTED, GRID, PAPER = "#1a1f26", "#5b6470", "#d9dee5", "#fffffe"
SERIES = ("#0068a8", "#c94f00", "#008163", "#a8478f", "#7a5c00", "#3d8fc7", "#b3261e", "#556270")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1)), "-", (0, (5, 2)), (0, (1, 1.5)))
DARK = {
    INK: "#e8ecf1",
    MUTED: "#a3adba",
    GRID: "#363d47",
    PAPER: "#14181d",
    **dict(
        zip(
            SERIES,
            ("#5cb8f2", "#ff9a52", "#3ecfa5", "#e79ad0", "#e3c04f", "#a5d8ff", "#ff8a80", "#b4bfcc"),
            strict=True,
        )
    ),
}
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--card",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES)},
}
SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": PAPER,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # TrueType; the default, type 3, is refused by publishers
    "svg.hashsalt": "shared-ris",
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under the report's settings, which stay out of everybody else's plots."""

    @functools.wraps(draw)
    def inner(*args: P.args, **options: P.kwargs) -> R:
        with matplotlib.rc_context(SETTINGS):
            return draw(*args, **options)

    return inner


def new_figure(width_inches: float = 7.2, height_inches: float = 4.0, columns: int = 1, sharey: bool = False) -> Figure:
    """Return an empty figure with `columns` axes side by side."""
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    figure.subplots(1, columns, sharey=sharey)
    return figure


def light_grid(axes: Axes, axis: str) -> None:
    """Keep the grid lines of one axis only ("x" or "y")."""
    axes.grid(visible=False, axis="y" if axis == "x" else "x")


@styled
def to_svg(figure: Figure) -> str:
    """Return the figure as SVG in the light colours; the same figure gives the same bytes."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = out.getvalue()
    return svg[svg.index("<svg") :]


def dark(svg: str) -> str:
    """Return the same SVG in the colours for a dark page."""
    return _swap(svg, DARK)


def themed(svg: str) -> str:
    """Return the SVG for inlining: colours are the page's variables, the size follows the page.

    The width that it was drawn for stays as the variable `--natural`.
    """
    svg = _swap(svg, {colour: f"var({name})" for colour, name in VARIABLES.items()})
    head, end, rest = svg.partition(">")
    drawn = re.search(r'\swidth="([\d.]+pt)"', head)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} class="plot" style="--natural: {drawn[1] if drawn else "100%"}"{end}{rest}'


def _swap(svg: str, colours: dict[str, str]) -> str:
    return re.sub("|".join(colours), lambda match: colours[match[0]], svg)


@styled
def save_pixels(figure: Figure, folder: Path, name: str, dpi: int = 110) -> dict[str, bytes]:
    """Write NAME.png and NAME-dark.png and return both as WebP (a tenth of the bytes) for the page."""
    small: dict[str, bytes] = {}
    for theme, suffix in (("light", ""), ("dark", "-dark")):
        if theme == "dark":
            _darken(figure)
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        write_file(folder / f"{name}{suffix}.png", _encoded(pixels, "png", compress_level=6))
        small[theme] = _encoded(pixels, "webp", quality=82)
    return small


def _encoded(pixels: np.ndarray, kind: str, **options: int) -> bytes:
    out = io.BytesIO()
    matplotlib.image.imsave(out, pixels, format=kind, pil_kwargs=options)
    return out.getvalue()


def _darken(figure: Figure) -> None:
    figure.set_facecolor(DARK[PAPER])
    for text in figure.findobj(Text):
        text.set_color(DARK.get(str(to_hex(text.get_color())), DARK[INK]))


@styled
def save(figure: Figure, folder: Path, name: str, *, pdf: bool = False) -> str:
    """Write NAME.svg, NAME-dark.svg and, for a paper, NAME.pdf; return the text of the light SVG."""
    svg = to_svg(figure)
    header = '<?xml version="1.0" encoding="utf-8"?>\n'
    for suffix, themed_svg in (("", svg), ("-dark", dark(svg))):
        write_file(folder / f"{name}{suffix}.svg", (header + themed_svg).encode())
    if pdf:  # only where it is asked for: embedding the fonts takes most of the time of a plot
        write_file(folder / f"{name}.pdf", _for_a_paper(figure))
    return svg


def _for_a_paper(figure: Figure) -> bytes:
    """Return the figure as PDF at the width of a column, or of the text where it has several panels, without scaling.

    The figure is changed: text gets the size of a paper's captions, and the title goes, since a caption replaces it.
    """
    width, height = figure.get_size_inches()
    wanted = COLUMN_INCHES if len(figure.axes) == 1 else TEXT_INCHES
    for text in figure.findobj(Text):
        text.set_fontsize(max(SMALLEST_POINTS, float(text.get_fontsize()) * PAPER_SCALE))
    for points in figure.findobj(PathCollection):
        points.set_sizes(points.get_sizes() * PAPER_SCALE**2)  # areas; those of a key are lines
    for line in figure.findobj(Line2D):
        line.set_linewidth(line.get_linewidth() * PAPER_SCALE)
        line.set_markersize(line.get_markersize() * PAPER_SCALE)
    if figure.get_suptitle():
        figure.suptitle("")
    elif len(figure.axes) == 1:
        figure.axes[0].set_title("", loc="left")
    figure.set_size_inches(wanted, height * max(wanted / width, PAPER_SCALE))
    content = io.BytesIO()
    figure.savefig(content, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    return content.getvalue()
