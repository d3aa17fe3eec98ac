"""What stands above and below a table, so that no number is taken for what it is not."""

from __future__ import annotations

import pandas as pd

from reports.choice import Choice
from reports.paper import FULL_SPLITS, TableSpec
from reports.scores import score_cell

PROTOCOL_RULES = {
    "paper": "threshold 0.35 on the logit grid, then nearest resize",
    "original": "probabilities resized to the original image, then threshold 0.35",
    "input": "as `original`, at the input size",
}


def ablation_caption(spec: TableSpec, part_name: str, choice: Choice) -> str:
    """Return the caption of an ablation: the paper's, then on what each side was measured."""
    part = f": {part_name.partition(') ')[2].lower()}" if part_name else ""
    paper = "RefCOCO+ val, base scale, as the authors trained it."
    return f"{spec.caption}{part}. Columns “paper”: {paper} Columns “here”: {measured_on(choice)}"


def measured_on(choice: Choice) -> str:
    """Return data set, split, protocol, scale, recipe and seeds of the chosen runs in one sentence."""
    rows = choice.rows
    if rows.empty:
        return f"not run (no record under protocol {choice.protocol} fits)."
    first = rows.iloc[0]
    seeds = ", ".join(str(seed) for seed in sorted(rows["seed"].unique()))
    sentence = (
        f"{choice.split} ({first['samples']} expressions, {first['images']} images), protocol {choice.protocol} "
        f"v{first['protocol_version']}, scale {choice.scale}, recipe {choice.recipe}, {first['epochs']} epochs, "
        f"trained on {first['trained_on']}, {'seeds' if ',' in seeds else 'seed'} {seeds}."
    )
    return sentence if choice.is_published_data else f"{sentence} {warning(choice)}"


def warning(choice: Choice) -> str:
    """Return the sentence that keeps other data from being read as the paper's."""
    if choice.split in FULL_SPLITS and choice.scale == "tiny":
        return "The tiny scale is not the paper's model: not comparable with the published scores."
    if choice.split in FULL_SPLITS:
        expected = FULL_SPLITS[choice.split]
        return f"Not the whole split ({expected} expressions): not comparable with the published scores."
    return "Not RefCOCO+: not comparable with the published scores."


def cost_sentence(spec: TableSpec) -> list[str]:
    """Return what the cost columns count."""
    rule = {
        "fpn": 'added over "No FPN"',
        "decoder": "of decoder and head, absolute",
        "total": "of the whole model",
    }.get(spec.component)
    if rule is None:
        return []
    return [
        f"Params and GFLOPs: {rule}, at the paper's scale (480x480, batch 1), measured by fvcore; what the paper "
        "prints as GFLOPs are multiply-accumulates (GMACs)."
    ]


def trivial_answers(choice: Choice) -> list[str]:
    """Return what "all background" and "all image" score on the same samples."""
    if choice.rows.empty:
        return []
    one = choice.rows.head(1)
    names = ("all_background_oiou", "all_background_miou", "all_image_oiou", "all_image_miou")
    if one[list(names)].isna().any(axis=None):
        return ["The scores of trivial answers were not recorded."]
    background_oiou, background_miou, image_oiou, image_miou = (score_cell(one, name).text for name in names)
    return [
        f'On the same samples "all background" scores oIoU {background_oiou}, mIoU {background_miou}; '
        f'"all image" scores oIoU {image_oiou}, mIoU {image_miou}.',
        *_counts(choice.rows),
    ]


def _counts(rows: pd.DataFrame) -> list[str]:
    empty, skipped = int(rows["empty_unions"].max()), int(rows["skipped"].max())
    return [f"Samples with an empty union (IoU 1, no pixels added): {empty}; skipped: {skipped}."]
