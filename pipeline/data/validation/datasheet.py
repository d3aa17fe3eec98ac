"""The data sheet: one HTML page of a set, to look at before training on it.

A grid of samples with mask and expressions, histograms of expression length, object area and refs per image, counts and
findings. The page is self-contained: no script, no other file, no external address.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.data.readers.annotations import Source, SourceRef
from pipeline.data.validation.checks import CheckResult
from pipeline.data.validation.histograms import area_ratio, draw_histograms
from pipeline.data.validation.report import report_text
from pipeline.data.validation.sample_image import draw_sample

TEMPLATES = Path(__file__).parent / "templates"
_SAMPLES = 24


def write_datasheet(source: Source, result: CheckResult, read: Callable[[str], bytes] | None) -> str:
    """Return the page as HTML.

    Args:
        read: bytes of an image by file name; None leaves the samples without images.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    samples = [
        {"ref": ref, "area_ratio": area_ratio(ref), "jpeg": _base64(draw_sample(ref, read)) if read else ""}
        for ref in choose_samples(source.refs)
    ]
    return environment.get_template("datasheet.html.jinja").render(
        name=result.set_name,
        total=result.counts["all"],
        ok=result.ok,
        samples=samples,
        has_images=read is not None,
        charts={title: _base64(svg) for title, svg in draw_histograms(source.refs).items()},
        report=report_text(result),
    )


def choose_samples(refs: Sequence[SourceRef]) -> list[SourceRef]:
    """Return up to 24 refs, as many of each split as there is room for, evenly spaced within it."""
    parts = list(dict.fromkeys(ref.split for ref in refs))
    chosen: list[SourceRef] = []
    for part in parts:
        rows = [ref for ref in refs if ref.split == part]
        count = min(len(rows), max(1, _SAMPLES // len(parts)))
        chosen += [rows[int(place)] for place in np.linspace(0, len(rows) - 1, count)]
    return chosen


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
