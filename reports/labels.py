"""Short names of variants for legends: what a variant changes against the paper's model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from pipeline.published.tables import read_published
from reports.paper import NUMERALS, PROPOSED


def variant_label(variant: str) -> str:
    """Return a variant's name for a legend: "Shared-RIS", "no FPN", "FPN {6, 12}", "decoder cross-attention"."""
    if variant == PROPOSED:
        return "Shared-RIS"
    if "|" not in variant:  # the label of a row of a sweep
        return variant
    found = re.fullmatch(r"(.+?)\|fpn=(\w+)\(([\d,]*)\)\|decoder=(\w+)\((\d+)\)(?:\|no_target=(\w+))?", variant)
    if found is None:
        encoder, _, rest = variant.partition("|")
        return f"{rest.removeprefix('whole=')} ({encoder})"
    encoder, fpn, stages, decoder, layers, no_target = found.groups()
    parts = [] if encoder == "beit3" else [encoder]
    if fpn == "none":
        parts.append("no FPN")
    elif fpn != "self_attention":
        parts.append(f"FPN {_words(fpn)}")
    elif stages not in ("3,6,9,12", "6,12,18,24"):
        parts.append(f"FPN {{{stages.replace(',', ', ')}}}")
    if decoder == "none":
        parts.append("no fusion")
    elif decoder != "self_attention":
        parts.append(f"decoder {_words(decoder)}")
    elif layers != "1":
        parts.append(f"{layers} decoder layers")
    if no_target:
        parts.append(f"no-target {no_target}")
    return ", ".join(parts) or "Shared-RIS"


def _words(kind: str) -> str:
    return kind.replace("_", "-")


@cache
def _places() -> dict[str, int]:
    places: dict[str, int] = {}
    for numeral in ("VII", "VIII", *NUMERALS):
        for variant in read_published(numeral)["variant"]:
            places.setdefault(variant, len(places))
    return places


def in_order(variants: Iterable[str]) -> list[str]:
    """Return each variant once, in the order of the paper's ablations, unknown ones last by name."""
    return sorted(set(variants), key=lambda variant: (_places().get(variant, len(_places())), variant))
