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
from sharedris.baselines.config import EncoderPair, SystemConfig, SystemKind
from sharedris.config import DecoderConfig, DecoderKind, FpnConfig, FpnKind, ModelConfig, base, large

Meaning = Literal["added by the FPN", "decoder and head", "whole model"]


class Amount(NamedTuple):
    """A cost."""

    million_params: float
    gmacs: float


@dataclass(frozen=True, kw_only=True)
class CostCell:
    """One printed row: which table, its label, what the numbers mean, the numbers (whole millions, whole GFLOPs)."""

    table: str
    label: str
    meaning: Meaning
    config: ModelConfig
    published_million_params: int | None
    published_gflops: int | None


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


def _fpn(kind: FpnKind, *stages: int) -> ModelConfig:
    return base(fpn=FpnConfig(kind=kind, stages=stages))


def _decoder(kind: DecoderKind, layers: int) -> ModelConfig:
    return base(decoder=DecoderConfig(kind=kind, layers=layers))


def _system(kind: SystemKind, encoder: EncoderPair) -> ModelConfig:
    return base(system=SystemConfig(kind=kind, encoder=encoder))


def _cell(
    table: str, label: str, meaning: Meaning, config: ModelConfig, million_params: int | None, gflops: int | None
) -> CostCell:
    return CostCell(
        table=table,
        label=label,
        meaning=meaning,
        config=config,
        published_million_params=million_params,
        published_gflops=gflops,
    )


FPN: Meaning = "added by the FPN"
DECODER: Meaning = "decoder and head"
MODEL: Meaning = "whole model"

CELLS: tuple[CostCell, ...] = (
    _cell("II", "Shared-RIS, ViT-L", MODEL, large(), None, 381),
    _cell("IV", "FPN in CRIS", FPN, _fpn("cris", 6, 9, 12), 23, 19),
    _cell("IV", "PWAM in LAVT", FPN, _fpn("pwam", 3, 6, 9, 12), 14, 13),
    _cell("IV", "Shared FPN (Ours)", FPN, base(), 8, 9),
    _cell("V", "No Fusion", DECODER, _decoder("none", 0), 5, 46),
    _cell("V", "CGFormer", DECODER, _decoder("cgformer", 1), 44, 857),
    _cell("V", "DMMI", DECODER, _decoder("dmmi", 1), 94, 276),
    _cell("V", "Shared Decoder (Ours)", DECODER, base(), 9, 50),
    _cell("VI", "CGFormer (Swin + BERT)", MODEL, _system("cgformer", "swin_bert"), 252, 949),
    _cell("VI", "CGFormer (BEiT-3)", MODEL, _system("cgformer", "beit3"), 269, 955),
    _cell("VI", "DMMI (Swin + BERT)", MODEL, _system("dmmi", "swin_bert"), 341, 392),
    _cell("VI", "DMMI (BEiT-3)", MODEL, _system("dmmi", "beit3"), 356, 397),
    _cell("VI", "Shared-RIS (Ours)", MODEL, base(), 239, 155),
    _cell("VII", "(a) {6, 12}", FPN, _fpn("self_attention", 6, 12), 4, 5),
    _cell("VII", "(a) {4, 8, 12}", FPN, _fpn("self_attention", 4, 8, 12), 6, 7),
    _cell("VII", "(a) {3, 6, 9, 12}", FPN, _fpn("self_attention", 3, 6, 9, 12), 8, 9),
    _cell("VII", "(b) Cross-attention", FPN, _fpn("cross_attention", 3, 6, 9, 12), 8, 6),
    _cell("VII", "(b) Bi-direction", FPN, _fpn("bi_direction", 3, 6, 9, 12), 37, 22),
    _cell("VII", "(b) Shared self-attention", FPN, base(), 8, 9),
    _cell("VIII", "(a) No Fusion", DECODER, _decoder("none", 0), 5, 46),
    _cell("VIII", "(a) 1 (Ours)", DECODER, base(), 9, 50),
    _cell("VIII", "(a) 2", DECODER, _decoder("self_attention", 2), 12, 54),
    _cell("VIII", "(a) 3", DECODER, _decoder("self_attention", 3), 15, 58),
    _cell("VIII", "(b) Cross-attention", DECODER, _decoder("cross_attention", 1), 9, 48),
    _cell("VIII", "(b) Bi-direction", DECODER, _decoder("bi_direction", 1), 14, 51),
    _cell("VIII", "(b) Shared self-attention", DECODER, base(), 9, 50),
    _cell("X", "ViT-DET", MODEL, _system("vitdet", "beit3"), None, None),
)
TABLES = tuple(dict.fromkeys(cell.table for cell in CELLS))


def total(costs: list[ComponentCost], *components: str) -> Amount:
    """Return the sum over the named components, or over all of them."""
    chosen = [cost for cost in costs if not components or cost.component in components]
    return Amount(sum(cost.million_params for cost in chosen), sum(cost.gmacs for cost in chosen))


def _added_by_fpn(config: ModelConfig) -> Amount:
    without = dataclasses.replace(config, fpn=FpnConfig(kind="none", stages=()))
    whole, less = total(measure_cost(config), "fpn"), total(measure_cost(without), "fpn")
    return Amount(whole.million_params - less.million_params, whole.gmacs - less.gmacs)


MEASURES: dict[Meaning, Callable[[ModelConfig], Amount]] = {
    FPN: _added_by_fpn,
    DECODER: lambda config: total(measure_cost(config), "decoder", "head"),
    MODEL: lambda config: total(measure_cost(config)),
}


def measure_cell(cell: CostCell) -> MeasuredCell:
    """Return the cell with the measured cost."""
    return MeasuredCell(cell=cell, measured=MEASURES[cell.meaning](cell.config))
