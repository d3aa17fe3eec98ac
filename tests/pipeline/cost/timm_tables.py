"""Public speeds of vision transformers on three GPUs, and the roofline's for the same models.

The rows are of `results/benchmark-infer-amp-nchw-*.csv` of timm: inference under autocast, without a compiler
(tests/golden/timm_inference.csv names files and commit). Some rows fit the shares of the roofline, others check it.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.cost.devices import find_device
from pipeline.cost.roofline import GpuRates, Rates, gpu_rates, seconds_of
from pipeline.cost.step_trace import Kernel, trace_module
from sharedris.layers import MultiHeadAttention

ROWS = Path(__file__).parents[2] / "golden" / "timm_inference.csv"
SHAPES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Width, layers and heads."""
Use = Literal["fit", "check", "other"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One published speed.

    Attributes:
        gpu: name of the device.
        model: as timm names it.
        image_size: pixels.
        batch: images of a forward.
        images_per_second: as published.
        use: "fit" where it is one of those behind the shares, "check" where it is asked to be met.
    """

    gpu: str
    model: str
    image_size: int
    batch: int
    images_per_second: float
    use: Use

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Kernels of a plain vision transformer of this shape."""
        size = next(name for name in SHAPES if f"_{name}_" in self.model)
        return trace_vit(size, self.image_size, self.batch, "siglip" not in self.model)

    def predicted(self, rates: Rates | None = None) -> float:
        """Return images per second by the roofline."""
        return self.batch / seconds_of(self.kernels, rates or rates_of(self.gpu))


def read_rows(*uses: Use) -> list[Row]:
    """Return the rows with one of these uses, or all of them."""
    lines = [line for line in ROWS.read_text().splitlines() if not line.startswith("#")]
    return [row for row in map(_row, csv.DictReader(lines)) if not uses or row.use in uses]


def _row(cells: dict[str, str]) -> Row:
    return Row(
        gpu=cells["gpu"],
        model=cells["model"],
        image_size=int(cells["infer_img_size"]),
        batch=int(cells["infer_batch_size"]),
        images_per_second=float(cells["infer_samples_per_sec"]),
        use=cells["use"],  # type: ignore[arg-type] # one of three words
    )


def rates_of(gpu: str) -> GpuRates:
    """Return the rates of a GPU of the rows."""
    device = find_device(gpu)
    assert device is not None
    return gpu_rates(device)


def fitted_share(rows: Iterable[Row], gpu: str) -> float:
    """Return the share of a GPU's peak, in hundredths, with the smallest squared relative error over its rows."""
    own = [row for row in rows if row.gpu == gpu]

    def error(share: float) -> float:
        rates = replace(rates_of(gpu), product_share=share)
        return sum(math.log(row.predicted(rates) / row.images_per_second) ** 2 for row in own)

    return min((hundredth / 100 for hundredth in range(50, 151)), key=error)


@functools.lru_cache(maxsize=32)
def trace_vit(size: str, image_size: int, batch: int, class_token: bool) -> tuple[Kernel, ...]:
    """Return the kernels of a forward pass."""
    with torch.device("meta"):
        model = PlainVit(*SHAPES[size], image_size=image_size, class_token=class_token).eval()
        images = torch.empty(batch, 3, image_size, image_size)
    return trace_module(model, (images,))


class PlainVit(nn.Module):
    """A vision transformer with patches of 16 pixels, as timm lays its tokens out: B images, N tokens, D channels.

    Without a class token the tokens keep the layout of the patches' convolution, so that each norm copies them.
    """

    def __init__(self, width: int, layers: int, heads: int, *, image_size: int, class_token: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.positions = nn.Parameter(torch.zeros(1, (image_size // 16) ** 2 + class_token, width))
        self.layers = nn.Sequential(*(_Layer(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the logits."""
        tokens_BND = self.patches(images_BCHW).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            tokens_BND = torch.cat([self.class_token.expand(len(tokens_BND), -1, -1), tokens_BND], dim=1)
        tokens_BND = self.norm(self.layers(tokens_BND + self.positions))
        pooled_BD = tokens_BND.mean(dim=1) if self.class_token is None else tokens_BND[:, 0]
        logits_BK: Tensor = self.head(pooled_BD)
        return logits_BK


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens_BND: Tensor) -> Tensor:
        tokens_BND = tokens_BND + self.attention(self.attention_norm(tokens_BND))
        added_BND: Tensor = tokens_BND + self.mlp(self.mlp_norm(tokens_BND))
        return added_BND


def table_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table: published and predicted."""
    yield "| GPU | model | images of a forward | published images/s | predicted | predicted / published | used to |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        predicted = row.predicted()
        yield (
            f"| {row.gpu} | {row.model} | {row.batch} | {row.images_per_second:.0f} | {predicted:.0f} "
            f"| {predicted / row.images_per_second:.2f} | {row.use} |"
        )
