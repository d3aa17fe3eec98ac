"""Which objects a ref names, in each layout of `SetSpec`: one, any number, or none.

    refer       ann_id is one annotation (REFER: RefCOCO, RefCOCO+, RefCOCOg)
    grefcoco    ann_id is a list, [-1] without a target (henghuiding/gRefCOCO, grefer.py; ReLA asserts the same)
    ref-zom     ann_id is a list, empty where `source` is "zero" (toggle1995/RIS-DMMI, refer.py and dataset_zom.py)
    r-refcoco   ann_id is one annotation, and each sentence has `exist`, false where it names nothing in the image
                (jianzongwu/robust-ref-seg, ReferDataset.py)

Of a prepared set the layout is not visible: a ref without a target has the `ann_id` -1 and an empty mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.data.catalog import SetSpec
from pipeline.data.readers.field_values import shown, whole_number

NO_TARGET = -1
"""The `ann_id` of a ref that names no object."""


def target_ids(raw: dict[str, Any], spec: SetSpec) -> tuple[int, ...]:
    """Return the annotations that a ref names, as listed; none for a ref without a target.

    Raises:
        ValueError: for ids that are not whole numbers, that contradict another field of the ref, or that stand for no
            target in a set that must have one.
    """
    return _READERS[spec.layout](raw, spec)


def names_a_target(sentence: dict[str, Any]) -> bool:
    """Return whether a sentence of the layout `r-refcoco` names an object; it does where it has no `exist`.

    Raises:
        ValueError: where `exist` is neither true nor false.
    """
    exist = sentence.get("exist", True)
    if exist not in (0, 1) or isinstance(exist, str):
        raise ValueError(f"exist is {shown(exist)}, neither true nor false")
    return bool(exist)


def separated(ref: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a ref of the layout `r-refcoco` as one ref per kind of sentence, since a row has one mask.

    The ref without a target has the id -1 - ref_id, so that ids stay unique and the original one can be computed.
    """
    positive = [sentence for sentence in ref["sentences"] if sentence["exists"]]
    negative = [sentence for sentence in ref["sentences"] if not sentence["exists"]]
    parts = [{**ref, "sentences": positive}] if positive else []
    if negative:
        parts.append({**ref, "ref_id": -1 - ref["ref_id"], "ann_ids": (), "sentences": negative})
    return parts


def _one(raw: dict[str, Any], spec: SetSpec) -> tuple[int, ...]:
    if raw.get("no_target"):
        raise ValueError(f"no_target is {shown(raw['no_target'])}; each ref of {spec.name} has a target")
    return (whole_number(raw.get("ann_id"), "ann_id"),)  # -1 is an id like any other: some files number from there


def _listed(raw: dict[str, Any]) -> tuple[int, ...]:
    """Return the ids of a list or of a single number, without -1; refuse -1 among others."""
    ann_id = raw.get("ann_id")
    values = ann_id if isinstance(ann_id, list | tuple) else [ann_id]
    ids = tuple(whole_number(value, "ann_id") for value in values)
    if NO_TARGET in ids and len(ids) > 1:
        raise ValueError(f"ann_id is {shown(list(ids))}: -1 (no target) stands among annotations")
    return () if ids == (NO_TARGET,) else ids


def _grefcoco(raw: dict[str, Any], spec: SetSpec) -> tuple[int, ...]:
    ids = _listed(raw)
    if raw.get("ann_id") in ([], ()):
        raise ValueError("ann_id is an empty list; a ref without a target has [-1]")
    flag = raw.get("no_target")
    if flag is not None and bool(flag) == bool(ids):
        raise ValueError(f"no_target is {shown(flag)}, and ann_id is {shown(raw.get('ann_id'))}")
    return ids


def _ref_zom(raw: dict[str, Any], spec: SetSpec) -> tuple[int, ...]:
    ids, source = _listed(raw), raw.get("source")
    if not isinstance(source, str) or not source:
        raise ValueError(f"source is {shown(source)}, not zero, one or many")
    if (source == "zero") == bool(ids):
        raise ValueError(f"source is {shown(source)}, and ann_id is {shown(raw.get('ann_id'))}")
    return ids


_READERS: dict[str, Callable[[dict[str, Any], SetSpec], tuple[int, ...]]] = {
    "refer": _one,
    "grefcoco": _grefcoco,
    "ref-zom": _ref_zom,
    "r-refcoco": _one,
}
