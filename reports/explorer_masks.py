"""The masks of a page of samples: read a run at a time, put on a coarse grid, packed in blocks of samples.

A block is deflated bytes in base64: per sample the run lengths of the true mask, then those of each run's mask
(reports/small_masks.py). The masks of one run are in memory at a time; of the others only what the page holds.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.data.masks import decode_filled_mask
from reports.ground_truth import Truth
from reports.load import Runs
from reports.small_masks import grid_size, run_lengths, shrink

BLOCK = 100
"""Samples whose masks are unpacked together."""
SIDES = (192, 160, 128, 96, 80, 64, 48)
"""Longer sides of the grids of masks, tried until the masks fit their part of the file."""
TRIED_BLOCKS = 6
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class PageMasks:
    """Where the masks of a page come from.

    Attributes:
        runs: per-sample rows.
        split: of the page.
        run_ids: whose masks are shown, in order.
        truth: true masks.
        shared: ref_id, height and width of each sample.
    """

    runs: Runs
    split: str
    run_ids: tuple[str, ...]
    truth: Truth
    shared: pd.DataFrame

    def fitting_side(self, most_bytes: float) -> int:
        """Return the finest grid with which all blocks take at most so many bytes; the coarsest where none does.

        Some blocks of the split are packed with each grid, and stand for all of them.
        """
        blocks = block_ranges(len(self.shared))
        tried = blocks[:: max(1, len(blocks) // TRIED_BLOCKS)]
        positions = [position for block in tried for position in block]
        of_sources = [self._on_grids(run_id, positions, SIDES) for run_id in (None, *self.run_ids)]
        starts = np.cumsum([0, *map(len, tried)])
        for number, side in enumerate(SIDES):
            small = [grids[number] for grids in of_sources]
            found = sum(
                len(_block(small, range(start, start + len(block))))
                for start, block in zip(starts, tried, strict=False)
            )
            if found * len(self.shared) / len(positions) <= most_bytes:
                return side
        return SIDES[-1]

    def blocks(self, side: int, progress: Progress) -> list[str]:
        """Return the blocks of all samples on a grid; `progress` is told how many masks are done, and of how many."""
        positions, small = range(len(self.shared)), []
        sources = (None, *self.run_ids)
        for number, run_id in enumerate(sources, start=1):
            small += self._on_grids(run_id, positions, (side,))
            progress(number * len(positions), len(sources) * len(positions))
        return [_block(small, block) for block in block_ranges(len(positions))]

    def _on_grids(self, run_id: str | None, positions: Sequence[int], sides: tuple[int, ...]) -> list[list[bytes]]:
        """Return for each side the run lengths of the masks of a run, or of the true ones, at some positions."""
        found: list[list[bytes]] = [[] for _ in sides]
        sizes = self.shared[["height", "width"]].to_numpy(dtype=int)[list(positions)]
        for (height, width), mask_HW in zip(sizes, self._masks(run_id, positions), strict=True):
            for side, of_side in zip(sides, found, strict=True):
                size = grid_size(int(height), int(width), side)
                of_side.append(run_lengths(np.zeros(size, dtype=bool) if mask_HW is None else shrink(mask_HW, size)))
        return found

    def _masks(self, run_id: str | None, positions: Sequence[int]) -> Iterator[np.ndarray | None]:
        """Yield masks (H, W); None for one that cannot be read: it is shown as empty, and its IoU still stands."""
        rows = self.shared.iloc[list(positions)]
        if run_id is None:
            codes = rows["ref_id"]
        else:
            codes = self.runs.samples(run_id, self.split, ["mask_rle"])["mask_rle"].iloc[list(positions)]
        for code, height, width in zip(codes, rows["height"], rows["width"], strict=True):
            try:
                if run_id is None:
                    yield self.truth.mask(int(code))
                else:
                    yield decode_filled_mask(bytes(code), height=int(height), width=int(width))
            except (KeyError, TypeError, ValueError):
                yield None


def block_ranges(count: int) -> list[range]:
    """Return the samples of each block."""
    return [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def _block(small: list[list[bytes]], positions: range) -> str:
    return packed(b"".join(of_source[position] for position in positions for of_source in small))


def packed(content: bytes) -> str:
    """Return bytes as the page's script unpacks them."""
    return base64.b64encode(zlib.compress(content, 9)).decode()
