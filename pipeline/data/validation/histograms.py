"""Histograms of a set's expressions, objects and images as SVG."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pipeline.data.masks import mask_area
from pipeline.data.readers.annotations import SourceRef

_MAX_BARS = 30
_SETTINGS = {"svg.hashsalt": "shared-ris", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def draw_histograms(refs: Sequence[SourceRef]) -> dict[str, bytes]:
    """Return an SVG by title; no bytes where there are no values."""
    words = [len(text.split()) for ref in refs for text in ref.expressions]
    areas = [100 * ratio for ref in refs if (ratio := area_ratio(ref)) is not None]
    per_image = list(Counter(ref.image.image_id for ref in refs).values())
    return {
        "Words per expression": _histogram("Words per expression", words, whole=True),
        "Object area, % of the image": _histogram("Object area, % of the image", areas, whole=False),
        "Refs per image": _histogram("Refs per image", per_image, whole=True),
    }


def area_ratio(ref: SourceRef) -> float | None:
    """Return object pixels / image pixels, None where the annotation has no usable mask."""
    if ref.mask_rle is None:
        return None
    height, width = ref.image.height, ref.image.width
    return mask_area(ref.mask_rle, height=height, width=width) / (height * width)


def _histogram(title: str, values: Sequence[float], *, whole: bool) -> bytes:
    """Draw one histogram; whole numbers have a bar each, and the last of 30 bars holds all larger ones."""
    if not values:
        return b""
    largest = max(values)
    bars = min(max(largest, 2), _MAX_BARS)
    edges = np.arange(0.5, bars + 1) if whole else np.linspace(0, max(largest, 1e-9), 21)
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(4.2, 2.2), layout="constrained")
        axes = figure.subplots()
        axes.hist(np.clip(values, edges[0], edges[-1]), bins=edges.tolist(), color="#3b6fb6", rwidth=0.9)
        axes.set_title(f"{title} (n = {len(values):,})", loc="left", fontsize=10, fontweight="bold")
        axes.locator_params(axis="x", integer=whole)
        axes.locator_params(axis="y", integer=True, nbins=4)
        if whole and largest > _MAX_BARS:
            axes.set_xlabel(f"{_MAX_BARS} stands for {_MAX_BARS} and more")
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
