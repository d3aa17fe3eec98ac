"""The named readings of the cost cells: the default's misses, and the one that was found after the fact."""

from __future__ import annotations

import pytest

from pipeline.cost.published import CELLS, CostCell
from pipeline.cost.readings import READINGS, measure_cell_under

OWN = [
    cell
    for cell in CELLS
    if cell.table in {"II", "VII", "VIII"} or (cell.table, cell.label) == ("VI", "Shared-RIS (Ours)")
]
"""Every cell of the paper's own design; tables IV and V repeat some of them."""

ALREADY = {"(b) Shared self-attention"}
"""Rows of VII and VIII that repeat one of part (a)."""


def name_of(cell: CostCell) -> str:
    return f"{cell.table} {cell.label}"


def test_the_papers_own_design_has_25_numbers() -> None:
    cells = [cell for cell in OWN if cell.label not in ALREADY]
    numbers = [(cell.published_million_params, cell.published_gflops) for cell in cells]
    assert sum(number is not None for pair in numbers for number in pair) == 25


@pytest.mark.parametrize(
    "cell",
    [pytest.param(cell, marks=[pytest.mark.slow] if cell.table in {"II", "VI"} else []) for cell in OWN],
    ids=name_of,
)
def test_all_cells_round_after_the_fact(cell: CostCell) -> None:
    assert False not in measure_cell_under(READINGS["after_the_fact"], cell).rounds_to_it


@pytest.mark.slow
def test_the_cross_attention_decoder_with_two_half_width_mlps() -> None:
    """The default's hidden width keeps its parameters: 8.66 M and 48.28 G are without the other choices."""
    (cell,) = [cell for cell in OWN if name_of(cell) == "VIII (b) Cross-attention"]
    default, after = (measure_cell_under(READINGS[name], cell) for name in ("default", "after_the_fact"))
    assert default.rounds_to_it == (True, False)
    assert default.measured == pytest.approx((8.661, 49.247), abs=0.001)
    added = READINGS["after_the_fact"].added(cell)
    assert default.measured.million_params + added.million_params == pytest.approx(8.66, abs=0.005)
    assert default.measured.gmacs + added.gmacs == pytest.approx(48.28, abs=0.005)
    assert after.rounds_to_it == (True, True)
