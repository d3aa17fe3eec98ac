"""The data sheet: one HTML page of a set, to look at before training on it.

A grid of samples with mask and sentences, histograms of sentence length, area and refs per image, counts and findings.
The page holds everything itself: no script, no other file, no address outside.
"""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from pipeline.data.dataset.transforms import decode_image
from pipeline.data.masks import decode_mask, mask_area
from pipeline.data.readers.annotations import Source, SourceRef
from pipeline.data.validation.checks import CheckResult
from pipeline.data.validation.report import report_text
from sharedris.errors import InputError

_SAMPLES = 24
_SIDE_PIXELS = 240
_LINE_COLOR = (255, 0, 200)
_DIMMED = 0.55
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1240px;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2rem 0 .6rem}p{margin:.2rem 0}
pre{background:#f3f4f6;padding:.8rem 1rem;border-radius:6px;overflow:auto;font-size:13px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));gap:14px}
figure{margin:0;border:1px solid #d5d9de;border-radius:6px;padding:8px;display:flex;flex-direction:column}
figure img{width:100%;height:180px;object-fit:contain;background:#f3f4f6}
figcaption{font-size:14px;margin-top:6px}figcaption ul{margin:.2rem 0;padding-left:1.1rem}
.where{color:#59626d;font-size:12px;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:18px}
svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#1b1f24}
.verdict{font-weight:600}.bad{color:#a40e26}.good{color:#116329}
"""


def write_datasheet(source: Source, result: CheckResult, read: Callable[[str], bytes] | None) -> str:
    """Return the page as HTML.

    Args:
        read: bytes of an image by file name; None leaves the samples without pictures.
    """
    total = result.counts["all"]
    verdict = ("good", "Nothing found that would change results.")
    if not result.ok:
        verdict = ("bad", "Something was found that would change results; see below.")
    title = html.escape(f"Data sheet: {result.set_name}")
    body = [
        f"<h1>{title}</h1><p>{total.images:,} images, {total.refs:,} refs, {total.expressions:,} expressions</p>",
        f'<p class="verdict {verdict[0]}">{verdict[1]}</p>',
        "<h2>Samples</h2><p>Drawn evenly over the splits; the object that the sentences name is outlined.</p>",
        f'<div class="grid">{"".join(_figure(ref, read) for ref in choose_samples(source.refs))}</div>',
        f'<h2>Distributions</h2><div class="charts">{_charts(source.refs)}</div>',
        f"<h2>Counts and findings</h2><pre>{html.escape(report_text(result))}</pre>",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
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


def _figure(ref: SourceRef, read: Callable[[str], bytes] | None) -> str:
    sentences = "".join(f"<li>{html.escape(text)}</li>" for text in ref.expressions)
    area = ""
    if ref.mask_rle is not None:
        pixels = mask_area(ref.mask_rle, height=ref.image.height, width=ref.image.width)
        area = f", {pixels / (ref.image.height * ref.image.width):.1%} of the image"
    where = html.escape(f"{ref.split} · ref {ref.ref_id} · {ref.image.file_name}{area}")
    return (
        f"<figure>{_picture(ref, read)}<figcaption><ul>{sentences}</ul>"
        f'<span class="where">{where}</span></figcaption></figure>'
    )


def _picture(ref: SourceRef, read: Callable[[str], bytes] | None) -> str:
    if read is None:
        return ""
    try:
        image_HWC = decode_image(read(ref.image.file_name), name=ref.image.file_name)
    except (InputError, OSError, KeyError):
        return '<p class="bad">image missing or undecodable</p>'
    if ref.mask_rle is not None and image_HWC.shape[:2] == (ref.image.height, ref.image.width):
        image_HWC = _outlined(image_HWC, decode_mask(ref.mask_rle, height=ref.image.height, width=ref.image.width))
    small = Image.fromarray(image_HWC)
    if max(small.size) < _SIDE_PIXELS:
        small = small.resize((small.width * 3, small.height * 3), Image.Resampling.NEAREST)
    small.thumbnail((_SIDE_PIXELS * 2, _SIDE_PIXELS * 2))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    text = base64.b64encode(buffer.getvalue()).decode()
    alt = html.escape("; ".join(ref.expressions))
    return f'<img alt="{alt}" src="data:image/jpeg;base64,{text}">'


def _outlined(image_HWC: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """Dim all but the object and draw a line around it: its own colours stay, for sentences name them."""
    inside = mask_HW.astype(bool)
    wide = inside
    for _ in range(max(1, max(mask_HW.shape) // 200)):
        wide = _grown(wide)
    shown = image_HWC * np.where(inside, 1.0, _DIMMED)[:, :, None]
    shown[wide & ~inside] = _LINE_COLOR
    return shown.astype(np.uint8)


def _grown(mask_HW: np.ndarray) -> np.ndarray:
    padded = np.pad(mask_HW, 1)
    return padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]


def _charts(refs: Sequence[SourceRef]) -> str:
    words = [len(text.split()) for ref in refs for text in ref.expressions]
    areas = [
        100
        * mask_area(ref.mask_rle, height=ref.image.height, width=ref.image.width)
        / (ref.image.height * ref.image.width)
        for ref in refs
        if ref.mask_rle is not None
    ]
    per_image = list(Counter(ref.image.image_id for ref in refs).values())
    return (
        _histogram("Words per expression", words, whole=True)
        + _histogram("Object area, % of the image", areas, whole=False)
        + _histogram("Refs per image", per_image, whole=True)
    )


def _histogram(title: str, values: Sequence[float], *, whole: bool) -> str:
    """Return a histogram as SVG; whole numbers have a bar each, up to 30 bars."""
    if not values:
        return f"<p>{title}: nothing to show</p>"
    top = max(values)
    edges = np.arange(0.5, min(max(top, 2), 30) + 1) if whole else np.linspace(0, max(top, 1e-9), 21)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    left, width, height = 46, 380, 150
    step = width / len(counts)
    bars = "".join(
        f'<rect x="{left + i * step + 1:.1f}" y="{20 + height * (1 - count / counts.max()):.1f}" '
        f'width="{max(step - 2, 1):.1f}" height="{height * count / counts.max():.1f}" fill="#3b6fb6"/>'
        for i, count in enumerate(counts)
    )
    every = max(1, len(counts) // 8)
    names = [f"{edge + 0.5:.0f}" if whole else f"{edge:.3g}" for edge in edges[: len(counts)]]
    if whole and top > 30:
        names[-1] += "+"
    ticks = "".join(
        f'<text x="{left + (i + whole / 2) * step:.1f}" y="{height + 36}" text-anchor="middle">{name}</text>'
        for i, name in enumerate(names)
        if i % every == 0
    )
    return (
        f'<svg viewBox="0 0 {left + width + 10} {height + 44}" role="img" aria-label="{title}">'
        f'<text x="{left}" y="12" font-weight="600">{title} (n = {len(values):,})</text>{bars}'
        f'<line x1="{left}" y1="{20 + height}" x2="{left + width}" y2="{20 + height}" stroke="#59626d"/>'
        f'<text x="{left - 4}" y="28" text-anchor="end">{counts.max():,}</text>'
        f'<text x="{left - 4}" y="{20 + height}" text-anchor="end">0</text>{ticks}</svg>'
    )
