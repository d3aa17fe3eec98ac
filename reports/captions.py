"""What stands above and below a table, so that no number is taken for what it is not."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reports.json_text import object_of, section_of
from reports.paper import FULL_SPLITS, TableSpec
from reports.run_selection import RunSelection
from reports.scores import score_cell

PAPER_COLUMNS, HERE_COLUMNS = "Columns “paper”:", "Columns “here”:"
AUTHORS_DATA = "RefCOCO+ val, base scale, as the authors trained it."


def ablation_caption(spec: TableSpec, part_name: str, choice: RunSelection) -> str:
    """Return the caption of an ablation: the paper's, then on what each side was measured."""
    part = f": {part_name.partition(') ')[2].lower()}" if part_name else ""
    paper = f"{PAPER_COLUMNS} {AUTHORS_DATA} "
    return f"{spec.caption}{part}. {paper}{HERE_COLUMNS} {measured_on(choice)}"


def measured_on(choice: RunSelection) -> str:
    """Return data set, split, protocol, scale, epochs and seeds of the chosen runs in one sentence."""
    rows = choice.rows
    if rows.empty:
        return f"not run (no record under protocol {choice.protocol} fits)."
    first = rows.iloc[0]
    seeds = ", ".join(str(seed) for seed in sorted(rows["seed"].unique()))
    size = f"{count_of(first['samples'], 'expression')}, {count_of(first['images'], 'image')}"
    sentence = (
        f"{choice.split} ({size}), protocol {choice.protocol} v{first['protocol_version']}, scale {choice.scale}, "
        f"{count_of(first['epochs'], 'epoch')}, trained on {first['trained_on']}, "
        f"{'seeds' if ',' in seeds else 'seed'} {seeds}{_sentences(first)}{_selection(first)}."
    )
    return sentence if choice.is_published_data or not choice.published_split else f"{sentence} {warning(choice)}"


def recipe_note(choice: RunSelection) -> list[str]:
    """Return the recipe of the chosen runs, which is a hash and therefore stands below a table."""
    return [f"Recipe of the runs: {choice.recipe}."] if choice.recipe else []


def _sentences(record: pd.Series) -> str:
    """Return how an epoch reads the sentences, where it does not read them all; the recipe covers the field."""
    data = section_of(record["config_json"], "data")
    return ", one sentence per ref and epoch" if data.get("sentences_per_epoch") == "one_per_ref" else ""


def _selection(record: pd.Series) -> str:
    """Return which checkpoint was scored, where it is not the last; the recipe covers the field."""
    rule, _, rest = str(section_of(record["config_json"], "train").get("checkpoint_selection", "last")).partition(":")
    split, _, metric = rest.rpartition("/")
    return f", scored at the epoch with the best {metric} on {split}" if rule == "best" else ""


def warning(choice: RunSelection) -> str:
    """Return the sentence that keeps other data, part of a split or another model from being read as the paper's."""
    reasons = []
    if choice.scale not in ("base", "large"):
        reasons.append(f"the {choice.scale} scale is not the paper's model")
    if choice.split != choice.published_split:
        reasons.append(f"{choice.split} is not {choice.published_split}")
    expected = FULL_SPLITS.get(choice.split)
    if expected is not None and (choice.rows["samples"] != expected).any():
        reasons.append(f"the whole split has {expected:,} expressions")
    return f"Not comparable with the published scores: {'; '.join(reasons)}."


def count_of(number: int, noun: str) -> str:
    """Return "1 epoch", "5 epochs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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


def scores_by_their_code(choice: RunSelection, methods: Mapping[str, str]) -> list[str]:
    """Return the second score of rows of other papers: by the rule of that paper's public code, mean over seeds.

    Args:
        choice: the runs of a table.
        methods: variant -> what the table calls its row.
    """
    if "public_scores_json" not in choice.rows:
        return []
    notes = []
    for variant, rows in choice.rows.dropna(subset="public_scores_json").groupby("variant", sort=False):
        by_seed = [object_of(text) for text in rows["public_scores_json"]]
        for evaluator in by_seed[0]:
            means = pd.DataFrame([scores[evaluator] for scores in by_seed]).astype(float).mean(skipna=False)
            shown = ", ".join(f"{name} {value:.2f}" for name, value in means.items())
            notes.append(
                f"{methods.get(str(variant), variant)}, by the rule of its own public code ({evaluator}): {shown}."
            )
    return notes


def trivial_answers(choice: RunSelection) -> list[str]:
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
    return [
        f"Samples with an empty union (IoU 1, no pixels added): {empty}; skipped: {skipped}.",
        *_cut(rows),
        *_left_out(rows),
    ]


def _cut(rows: pd.DataFrame) -> list[str]:
    """Return how many sentences the model did not read to their end; nothing for records that count none."""
    counts = rows["cut_sentences"].dropna() if "cut_sentences" in rows else pd.Series(dtype="int64")
    if counts.empty:
        return []
    return [f"Sentences longer than T, which the model reads without their end: {int(counts.max())}."]


def _left_out(rows: pd.DataFrame) -> list[str]:
    """Return what `prepare` left out of the sets; nothing for records without the column, or with nothing in it."""
    if "skipped_refs_json" not in rows:
        return []
    by_set: dict[str, dict[str, int]] = {}
    for text in rows["skipped_refs_json"].dropna():
        by_set.update({name: kinds for name, kinds in object_of(text).items() if isinstance(kinds, dict)})
    counts = [
        f"{name}: " + ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
        for name, kinds in sorted(by_set.items())
    ]
    return [f"Left out when the sets were prepared: {'; '.join(counts)}."] if counts else []
