"""Parameters and GMACs as the paper's cost cells count them.

FPN cells (tables IV, VII) are the added cost over the fpn component of "No FPN"; decoder cells (V, VIII) are decoder
and head, absolute; totals (II, VI) are absolute.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

FPN_COMPONENTS = ("fpn",)
DECODER_COMPONENTS = ("decoder", "head")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a part of a model costs."""

    million_params: float
    gmacs: float


class CostBook:
    """Looks up measured costs by scale and variant.

    Args:
        costs: rows of COST_SCHEMA; a variant measured at several input sizes counts at the largest.
    """

    def __init__(self, costs: pd.DataFrame) -> None:
        self._components: dict[tuple[str, str], dict[str, Cost]] = {}
        for row in costs.sort_values("image_size").to_dict("records"):
            found = self._components.setdefault((row["scale"], row["variant"]), {})
            found[row["component"]] = Cost(million_params=row["million_params"], gmacs=row["gmacs"])

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Say whether a (scale, variant) was measured."""
        return key in self._components

    def components(self, scale: str, variant: str) -> dict[str, Cost]:
        """Return the cost of every component, in the order of the file; empty when not measured."""
        return self._components.get((scale, variant), {})

    def variants(self, scale: str) -> list[str]:
        """Return the variants measured at a scale."""
        return [variant for known, variant in self._components if known == scale]

    def cell(self, part: str, scale: str, variant: str) -> Cost | None:
        """Return a paper's cost cell, or None where it was not measured.

        Args:
            part: "fpn" (added over "No FPN"), "decoder" (decoder and head) or "total".
            scale: "base" or "large" for the paper's cells.
            variant: ModelConfig.variant.
        """
        parts = self.components(scale, variant)
        if not parts:
            return None
        if part == "total":
            return _sum(parts, tuple(parts))
        if part == "decoder":
            return _sum(parts, DECODER_COMPONENTS)
        none = self.components(scale, without_fpn(variant))
        if not none:
            return None
        own, baseline = _sum(parts, FPN_COMPONENTS), _sum(none, FPN_COMPONENTS)
        return Cost(
            million_params=own.million_params - baseline.million_params,
            gmacs=own.gmacs - baseline.gmacs,
        )


def without_fpn(variant: str) -> str:
    """Return the same variant with "No FPN", which the added cost is taken over."""
    fields = [("fpn=none()" if entry.startswith("fpn=") else entry) for entry in variant.split("|")]
    return "|".join(fields)


def _sum(parts: dict[str, Cost], names: tuple[str, ...]) -> Cost:
    chosen = [parts[name] for name in names if name in parts]
    return Cost(
        million_params=sum(cost.million_params for cost in chosen),
        gmacs=sum(cost.gmacs for cost in chosen),
    )
