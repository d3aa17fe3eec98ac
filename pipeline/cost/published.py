"""The paper's published cost cells (tables II to VIII) that the models here cover, and what each one means.

FPN cells of tables IV and VII are the added cost over "No FPN"; decoder cells (V, VIII) are the decoder and the head;
totals (II, VI) are the whole model. This reading is inferred: no other fits all cells at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipeline.cost.flops import ComponentCost, measure_cost
from pipeline.published.tables import number, read_published
from sharedris.baselines.config import (
    ComparedDecoderConfig,
    ComparedFpnConfig,
    ComparedModelConfig,
    SystemConfig,
)
from sharedris.scales import base, large

Meaning = Literal["added by the FPN", "decoder and head", "whole model"]


class Amount(NamedTuple):
    """A cost."""

    million_params: float
    gmacs: float


@dataclass(frozen=True, kw_only=True)
class CostCell:
    """One printed row: its table and part of it ("a"), a label, what the numbers mean, and the model it is of.

    The numbers are in `pipeline.published` (whole millions, whole GFLOPs); None where nothing is printed.
    """

    table: str
    part: str
    label: str
    meaning: Meaning
    config: ComparedModelConfig

    @property
    def published_million_params(self) -> int | None:
        return self._printed("Params")

    @property
    def published_gflops(self) -> int | None:
        return self._printed("GFLOPs")

    def _printed(self, column: str) -> int | None:
        rows = read_published(self.table)
        of_model = (rows["variant"] == self.config.variant) & (rows["scale"] == self.config.scale)
        if self.part:
            of_model &= rows["part"].str.startswith(f"({self.part})")
        printed = number(rows[of_model].iloc[0].get(column, "-"))
        return None if printed is None else int(printed)


@dataclass(frozen=True, kw_only=True)
class MeasuredCell:
    """A published cell and what is measured for it."""

    cell: CostCell
    measured: Amount

    @property
    def rounds_to_it(self) -> tuple[bool | None, bool | None]:
        """Whether parameters and GMACs round to the printed numbers; None where nothing is printed."""
        return (
            _rounds_to(self.measured.million_params, self.cell.published_million_params),
            _rounds_to(self.measured.gmacs, self.cell.published_gflops),
        )


def _rounds_to(value: float, printed: int | None) -> bool | None:
    return None if printed is None else abs(value - printed) <= 0.5


def _fpn(kind: str, *stages: int) -> ComparedModelConfig:
    return base(fpn=ComparedFpnConfig(kind=kind, stages=stages))


def _decoder(kind: str, layers: int) -> ComparedModelConfig:
    return base(decoder=ComparedDecoderConfig(kind=kind, layers=layers))


def _system(kind: str, encoder: str) -> ComparedModelConfig:
    return base(system=SystemConfig(kind=kind, encoder=encoder))


def _cell(table: str, label: str, meaning: Meaning, config: ComparedModelConfig) -> CostCell:
    part = label[1] if label.startswith("(") else ""
    return CostCell(table=table, part=part, label=label, meaning=meaning, config=config)


FPN: Meaning = "added by the FPN"
DECODER: Meaning = "decoder and head"
MODEL: Meaning = "whole model"

CELLS: tuple[CostCell, ...] = (
    _cell("II", "Shared-RIS, ViT-L", MODEL, large()),
    _cell("IV", "FPN in CRIS", FPN, _fpn("cris", 6, 9, 12)),
    _cell("IV", "PWAM in LAVT", FPN, _fpn("pwam", 3, 6, 9, 12)),
    _cell("IV", "Shared FPN (Ours)", FPN, base()),
    _cell("V", "No Fusion", DECODER, _decoder("none", 0)),
    _cell("V", "CGFormer", DECODER, _decoder("cgformer", 1)),
    _cell("V", "DMMI", DECODER, _decoder("dmmi", 1)),
    _cell("V", "Shared Decoder (Ours)", DECODER, base()),
    _cell("VI", "CGFormer (Swin + BERT)", MODEL, _system("cgformer", "swin_bert")),
    _cell("VI", "CGFormer (BEiT-3)", MODEL, _system("cgformer", "beit3")),
    _cell("VI", "DMMI (Swin + BERT)", MODEL, _system("dmmi", "swin_bert")),
    _cell("VI", "DMMI (BEiT-3)", MODEL, _system("dmmi", "beit3")),
    _cell("VI", "Shared-RIS (Ours)", MODEL, base()),
    _cell("VII", "(a) {6, 12}", FPN, _fpn("self_attention", 6, 12)),
    _cell("VII", "(a) {4, 8, 12}", FPN, _fpn("self_attention", 4, 8, 12)),
    _cell("VII", "(a) {3, 6, 9, 12}", FPN, _fpn("self_attention", 3, 6, 9, 12)),
    _cell("VII", "(b) Cross-attention", FPN, _fpn("cross_attention", 3, 6, 9, 12)),
    _cell("VII", "(b) Bi-direction", FPN, _fpn("bi_direction", 3, 6, 9, 12)),
    _cell("VII", "(b) Shared self-attention", FPN, base()),
    _cell("VIII", "(a) No Fusion", DECODER, _decoder("none", 0)),
    _cell("VIII", "(a) 1 (Ours)", DECODER, base()),
    _cell("VIII", "(a) 2", DECODER, _decoder("self_attention", 2)),
    _cell("VIII", "(a) 3", DECODER, _decoder("self_attention", 3)),
    _cell("VIII", "(b) Cross-attention", DECODER, _decoder("cross_attention", 1)),
    _cell("VIII", "(b) Bi-direction", DECODER, _decoder("bi_direction", 1)),
    _cell("VIII", "(b) Shared self-attention", DECODER, base()),
    _cell("X", "ViT-DET", MODEL, _system("vitdet", "beit3")),
)
TABLES = tuple(dict.fromkeys(cell.table for cell in CELLS))


def total(costs: list[ComponentCost], *components: str) -> Amount:
    """Return the sum over the named components, or over all of them."""
    chosen = [cost for cost in costs if not components or cost.component in components]
    return Amount(sum(cost.million_params for cost in chosen), sum(cost.gmacs for cost in chosen))


def _added_by_fpn(config: ComparedModelConfig) -> Amount:
    without = dataclasses.replace(config, fpn=ComparedFpnConfig(kind="none", stages=()))
    whole, less = total(measure_cost(config), "fpn"), total(measure_cost(without), "fpn")
    return Amount(whole.million_params - less.million_params, whole.gmacs - less.gmacs)


MEASURES: dict[Meaning, Callable[[ComparedModelConfig], Amount]] = {
    FPN: _added_by_fpn,
    DECODER: lambda config: total(measure_cost(config), "decoder", "head"),
    MODEL: lambda config: total(measure_cost(config)),
}


def measure_cell(cell: CostCell) -> MeasuredCell:
    """Return the cell with the measured cost."""
    return MeasuredCell(cell=cell, measured=MEASURES[cell.meaning](cell.config))
