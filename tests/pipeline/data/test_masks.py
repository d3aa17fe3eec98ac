"""Run-length codes and polygons: the same pixels as the original REFER class, and nothing hostile reaches C code."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from pipeline.data.masks import (
    MaskError,
    decode_filled_mask,
    decode_mask,
    encode_mask,
    encode_segmentation,
    mask_area,
)
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.polygons import trace_outline
from pipeline.data.synthetic.scenes import has_hole
from tests.pipeline.data.run_lengths import compressed, run_lengths

masks = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(0, 1))


def refer_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """What is above 0 in the map of the original class."""
    return (refer_sum(segmentation, height, width) > 0).astype(np.uint8)


def refer_sum(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The map as the original class makes it: the sum of the polygons' maps, which is 2 where two overlap."""
    rle = coco_mask.frPyObjects(segmentation, height, width) if isinstance(segmentation, list) else [segmentation]
    return np.sum(coco_mask.decode(rle), axis=2)


@given(mask_HW=masks)
def test_run_lengths_go_round(mask_HW: np.ndarray) -> None:
    height, width = mask_HW.shape
    counts = encode_mask(mask_HW)
    lengths = run_lengths(mask_HW)
    assert compressed(lengths) == counts
    assert sum(lengths) == height * width
    assert (decode_mask(counts, height=height, width=width) == mask_HW).all()
    assert (coco_mask.decode({"size": [height, width], "counts": counts}) == mask_HW).all()
    assert mask_area(counts, height=height, width=width) == mask_HW.sum()
    plain = encode_segmentation({"size": [height, width], "counts": lengths}, height=height, width=width)
    text = encode_segmentation({"size": [height, width], "counts": counts.decode()}, height=height, width=width)
    assert (decode_mask(plain, height=height, width=width) == mask_HW).all()
    assert text == counts


coordinates = st.floats(-20, 60, allow_nan=False).map(lambda value: round(value, 2))
polygons = st.lists(
    st.lists(coordinates, min_size=6, max_size=16).map(lambda p: p[: len(p) // 2 * 2]), min_size=1, max_size=3
)


@given(segmentation=polygons, height=st.integers(1, 40), width=st.integers(1, 40))
def test_polygons_equal_the_refer_class(segmentation: list[list[float]], height: int, width: int) -> None:
    counts = encode_segmentation(segmentation, height=height, width=width)
    assert (decode_mask(counts, height=height, width=width) == refer_mask(segmentation, height, width)).all()


@pytest.mark.parametrize("name", ["refcocog_umd", "refcoco_unc"])
def test_real_masks_equal_the_refer_class(name: str, shared_data: Path) -> None:
    root = shared_data / "mini-refcoco"
    source = read_refer(root, name)
    folder = source.files[0].parent
    annotations = {entry["id"]: entry for entry in json.loads((folder / "instances.json").read_text())["annotations"]}
    refs = pickle.loads(source.files[0].read_bytes())
    assert len(source.refs) == len(refs)
    assert not source.problems
    for ref in source.refs:
        assert ref.mask_rle is not None
        height, width = ref.image.height, ref.image.width
        expected_HW = refer_mask(annotations[ref.ann_id]["segmentation"], height, width)
        assert (decode_mask(ref.mask_rle, height=height, width=width) == expected_HW).all()


def test_overlapping_polygons_are_joined_and_not_added_up() -> None:
    squares = [[0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 6, 2, 6, 6, 2, 6]]
    sums_HW = refer_sum(squares, 8, 8)
    assert sorted(np.unique(sums_HW)) == [0, 1, 2]
    mask_HW = decode_mask(encode_segmentation(squares, height=8, width=8), height=8, width=8)
    assert (mask_HW == (sums_HW > 0)).all()
    assert mask_HW.sum() > (sums_HW == 1).sum(), "readers that keep the pixels equal to 1 lose the overlap"


def test_real_refs_whose_polygons_overlap(shared_data: Path) -> None:
    """docs/data.md has the numbers."""
    refs, overlapping = 0, {}
    for name in ("refcocog_umd", "refcoco_unc"):
        source = read_refer(shared_data / "mini-refcoco", name)
        instances = json.loads((source.files[0].parent / "instances.json").read_text())
        polygons = {entry["id"]: entry["segmentation"] for entry in instances["annotations"]}
        for ref in source.refs:
            assert ref.mask_rle is not None
            refs += 1
            height, width = ref.image.height, ref.image.width
            sums_HW = refer_sum(polygons[ref.ann_id], height, width)
            if sums_HW.max() > 1:
                mask_HW = decode_mask(ref.mask_rle, height=height, width=width)
                assert (mask_HW == (sums_HW > 0)).all()
                overlapping[ref.ref_id] = int((sums_HW > 1).sum())
    assert (refs, overlapping) == (67, {1000019: 106})


def test_crowd_annotations_of_real_data_are_read(shared_data: Path) -> None:
    instances = json.loads((shared_data / "mini-refcoco/refcocog/instances.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in instances["images"]}
    crowds = [entry for entry in instances["annotations"] if entry["iscrowd"]]
    assert crowds
    for entry in crowds:
        height, width = sizes[entry["image_id"]]
        counts = encode_segmentation(entry["segmentation"], height=height, width=width)
        given_runs = entry["segmentation"]["counts"]
        assert run_lengths(decode_mask(counts, height=height, width=width)) == given_runs
        assert mask_area(counts, height=height, width=width) == sum(given_runs[1::2])


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "empty"),
        ([[1, 2, 3, 4]], "4 numbers"),
        ([[1, 2, 3, 4, 5, 6, 7]], "7 numbers"),
        ([["a"] * 6], "not a number"),
        ([[float("nan")] * 6], "not finite"),
        ([[1e300] * 6], "far outside"),
        ([[-1e6, 0, 1e6, 5] * 1000], "outline of more than"),
        ([[1e308, 0, -1e308, 5] * 3], "outline of more than"),
        ([[1025, 0, 1, 2, 3, 4]], "coordinate 1025, which is far outside"),
        ("polygon", "neither polygons nor RLE"),
        (None, "neither polygons nor RLE"),
        ({"size": [5, 5], "counts": [25]}, "RLE is for"),
        ({"size": [4, 6], "counts": [25]}, "run that is not a number"),
        ({"size": [4, 6], "counts": [10, 10]}, "covers 20 pixels of 24"),
        ({"size": [4, 6], "counts": [-1, 25]}, "run that is not a number"),
        ({"size": [4, 6], "counts": "PPPPPPPPPPPPPPP"}, "damaged"),
        ({"size": [4, 6], "counts": "\x00"}, "damaged"),
        ({"size": [4, 6], "counts": "n0"}, "covers more"),
        ({"size": [4, 6], "counts": "0"}, "covers fewer than the 24 pixels"),
        ({"size": [4, 6], "counts": "??"}, "covers more"),
        ({"size": [4, 6], "counts": ""}, "covers fewer"),
        ({"size": [4, 6], "counts": "@"}, "covers more"),
        ({"size": [4, 6], "counts": "h"}, "damaged"),
        ({"size": [4, 6], "counts": "h0P"}, "damaged"),
        ({"size": [4, 6], "counts": b"h0\x00P"}, "damaged"),
        ({"size": [4, 6], "counts": "é"}, "damaged"),
        ({"size": [4, 6]}, "no counts"),
    ],
)
def test_malformed_segmentations_are_refused(segmentation: Any, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        encode_segmentation(segmentation, height=4, width=6)


def test_a_long_outline_that_an_image_can_have_is_read() -> None:
    teeth = [value for x in range(0, 200, 2) for value in (x, 0, x, 90, x + 1, 90, x + 1, 0)]
    counts = encode_segmentation([teeth * 11], height=100, width=220)
    assert 0 < mask_area(counts, height=100, width=220) < 200 * 100


@given(counts=st.binary(max_size=30))
def test_hostile_counts_are_refused_or_fit(counts: bytes) -> None:
    try:
        kept = encode_segmentation({"size": [9, 7], "counts": counts}, height=9, width=7)
    except MaskError:
        return
    peer_HW = coco_mask.decode({"size": [9, 7], "counts": kept})
    assert (decode_mask(kept, height=9, width=7) == peer_HW).all()


@given(runs=st.lists(st.integers(-3, 40), max_size=8))
def test_compressed_runs_have_to_fill_the_image(runs: list[int]) -> None:
    counts = compressed(runs)
    fills = sum(runs) == 24 and min(runs) >= 0
    try:
        kept = encode_segmentation({"size": [4, 6], "counts": counts}, height=4, width=6)
    except MaskError:
        assert not fills
        return
    assert fills
    pixels = np.repeat(np.arange(len(runs)) % 2, runs)
    assert (decode_mask(kept, height=4, width=6) == pixels.reshape(6, 4).T).all()


@pytest.mark.parametrize("size", [(0, 5), (-3, -5), (5, 0), (2**31, 2**31), (2**40, 2**40), (10_001, 10_000)])
def test_sizes_out_of_bounds_never_reach_c(size: tuple[int, int]) -> None:
    with pytest.raises(MaskError, match="out of bounds"):
        decode_mask(b"h0", height=size[0], width=size[1])


@pytest.mark.parametrize("counts", [b"P" * 50, b"h0P", b"h0\x00", b"\xff", b"ppppppp0"])
def test_damaged_counts_never_reach_c(counts: bytes) -> None:
    """A file may have changed since it was prepared: pycocotools would write past its memory."""
    with pytest.raises(MaskError, match="damaged"):
        decode_mask(counts, height=4, width=6)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc")
def test_reading_masks_of_files_keeps_no_memory() -> None:
    """pycocotools loses a whole mask at each decoding that fails, so that none may be provoked to check the length."""
    mask_HW = np.zeros((1500, 2000), dtype=np.uint8)
    mask_HW[200:900, 300:1200] = 1
    counts = encode_mask(mask_HW)

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    decode_filled_mask(counts, height=1500, width=2000)
    before = resident_mb()
    for _ in range(50):
        decode_filled_mask(counts, height=1500, width=2000)
    assert resident_mb() - before < 50 * 3.0 / 3


@given(mask_HW=masks.filter(lambda mask_HW: mask_HW.any() and not has_hole(mask_HW.astype(bool))))
def test_traced_outlines_draw_the_same_pixels(mask_HW: np.ndarray) -> None:
    height, width = mask_HW.shape
    counts = encode_segmentation(trace_outline(mask_HW), height=height, width=width)
    assert (decode_mask(counts, height=height, width=width) == mask_HW).all()
