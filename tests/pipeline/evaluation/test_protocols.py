"""The three scoring rules on maps small enough to work out by hand."""

import torch

from pipeline import records
from pipeline.evaluation.protocols import PROTOCOLS

STEP = torch.tensor([[0.0, 1.0], [0.0, 1.0]])


def test_paper_thresholds_before_it_resizes() -> None:
    mask = PROTOCOLS["paper"].binarize(torch.tensor([[0.34, 0.36]]), (1, 6), 0.35)
    assert mask.tolist() == [[False, False, False, True, True, True]]


def test_original_resizes_probabilities_before_the_threshold() -> None:
    # Half-pixel centres: columns at -0.25, 0.25, 0.75, 1.25 of the map hold 0, 0.25, 0.75, 1.
    low, high = (PROTOCOLS["original"].binarize(STEP, (2, 4), threshold) for threshold in (0.2, 0.35))
    assert low[0].tolist() == [False, True, True, True]
    assert high[0].tolist() == [False, False, True, True]


def test_a_probability_at_the_threshold_is_background() -> None:
    for protocol in PROTOCOLS.values():
        assert not protocol.binarize(torch.full((2, 2), 0.5), (4, 4), 0.5).any()
        assert protocol.binarize(torch.full((2, 2), 0.51), (4, 4), 0.5).all()


def test_protocols_differ_where_they_should() -> None:
    scored_at = {name: protocol.scored_at for name, protocol in PROTOCOLS.items()}
    assert scored_at == {"paper": "original", "original": "original", "input": "input"}
    ramp = torch.linspace(0, 1, 16).reshape(4, 4)
    paper, original = (PROTOCOLS[name].binarize(ramp, (13, 9), 0.35) for name in ("paper", "original"))
    assert paper.shape == original.shape == (13, 9)
    assert not torch.equal(paper, original)


def test_the_nearest_resize_of_paper_goes_by_pixel_centers() -> None:
    # Centers of three output pixels lie at 1/3, 1 and 5/3 of two input pixels; "nearest" would take the left one twice.
    mask = PROTOCOLS["paper"].binarize(torch.tensor([[0.0, 1.0]]), (1, 3), 0.35)
    assert mask.tolist() == [[False, True, True]]


def test_every_protocol_has_columns_in_the_per_sample_rows() -> None:
    assert tuple(PROTOCOLS) == ("paper", "original", "input")
    for name in PROTOCOLS:
        assert {f"intersection_{name}", f"union_{name}", f"iou_{name}"} <= set(records.SAMPLE_SCHEMA.names)
