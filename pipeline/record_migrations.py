"""Columns that records, samples and history have got since version 1 of their schemas."""

from __future__ import annotations

MIGRATIONS: dict[str, str | float | None] = {
    "plugins_json": None,
    "skipped_refs_json": None,
    "cut_sentences": None,
    "rescored_json": None,
    "evaluated_json": None,
    "checkpoint_selection": None,
    "n_acc": None,
    "t_acc": None,
    "giou": None,
    "ciou": None,
    "boundary_iou": None,
    "boundary_iou_paper": None,
    "boundary_iou_original": None,
    "boundary_iou_input": None,
    "public_scores_json": None,
    "system": None,
    "predictions_json": None,
    "mfu": None,
    "worker_hours": None,
}
"""Column -> its value in files of before; None reads as null."""
