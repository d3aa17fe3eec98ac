"""TEST ONLY: made-up records and per-sample rows in the real schemas. No number here was ever measured.

Images differ in difficulty and variants in quality, so that samples of one image are correlated (what the clustered
bootstrap is for) and variants are paired over the same samples.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.evaluation.metrics import PRECISION_THRESHOLDS
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.threshold_counts import GRID, KEYS, count_columns, threshold_schema, thresholds_path
from pipeline.records import (
    COST_SCHEMA,
    HISTORY_SCHEMA,
    RECORD_SCHEMA,
    SAMPLE_SCHEMA,
    cost_path,
    history_path,
    read_table,
    record_path,
    samples_path,
    write_table,
)

NO_FPN = "beit3|fpn=none()|decoder=self_attention(1)"
TWO = "beit3|fpn=self_attention(6,12)|decoder=self_attention(1)"
THREE = "beit3|fpn=self_attention(4,8,12)|decoder=self_attention(1)"
FULL = "beit3|fpn=self_attention(3,6,9,12)|decoder=self_attention(1)"
FPN_VARIANTS = {NO_FPN: -0.04, TWO: -0.02, THREE: 0.0, FULL: 0.01}
SIDE = 64
PROTOCOL_SHIFT = {"paper": -0.01, "original": 0.0, "input": 0.005}
EMPTY_RLE = b"P`2"  # COCO run lengths of a 64x64 mask without a pixel


def write_runs(
    root: Path,
    variants: dict[str, float] | None = None,
    *,
    seeds: tuple[int, ...] = (0,),
    splits: tuple[str, ...] = ("toyplus_unc/val",),
    scale: str = "tiny",
    samples: int = 60,
    images: int = 20,
    recipe: str = "cafe00000001",
    train_sets: tuple[str, ...] | None = None,
    with_history: bool = True,
    samples_in_record: int | None = None,
) -> list[str]:
    """Write records, samples and histories of made-up runs; return their ids.

    Args:
        root: what the reports call --runs.
        variants: variant -> how much better (mean IoU) it is than the middle one.
        samples_in_record: the count that the record states, where a test needs that of a real split.
    """
    run_ids = []
    for number, (variant, quality) in enumerate((variants or FPN_VARIANTS).items()):
        for seed in seeds:
            run_id = f"{scale}-fake-s{seed}-{recipe[-3:]}{number:03d}"
            rows = []
            for split in splits:
                frame = sample_frame(split, quality, seed=seed, number=number, samples=samples, images=images)
                write_table(samples_path(root, run_id, split), frame, SAMPLE_SCHEMA)
                rows += record_rows(
                    run_id,
                    variant,
                    seed=seed,
                    split=split,
                    frame=frame,
                    scale=scale,
                    recipe=recipe,
                    train_sets=train_sets or (split.partition("/")[0],),
                    samples=samples_in_record,
                )
            write_table(record_path(root, run_id), pd.DataFrame(rows), RECORD_SCHEMA)
            if with_history:
                write_table(history_path(root, run_id), history_frame(seed + number), HISTORY_SCHEMA)
            run_ids.append(run_id)
    return run_ids


def sample_frame(split: str, quality: float, *, seed: int, number: int, samples: int, images: int) -> pd.DataFrame:
    """Return per-sample rows: the same images and expressions for every run of a split."""
    shared = np.random.default_rng([len(split), *split.encode()])
    image = np.sort(shared.integers(0, images, samples))
    difficulty = shared.normal(0, 0.15, images)[image]
    area = np.clip(shared.lognormal(5.0, 0.9, samples), 12, 2500).astype(np.int64)
    words = np.array(["red circle", "the small blue square", "large green triangle below the red square", "star"])
    own = np.random.default_rng([seed, number, len(split)])
    columns: dict[str, object] = {
        "index": np.arange(samples),
        "image_id": image + 1000,
        "file_name": [f"image_{value:05d}.jpg" for value in image],
        "ref_id": np.arange(samples) // 3,
        "sent_id": np.arange(samples),
        "expression": words[shared.integers(0, len(words), samples)],
        "height": np.full(samples, SIDE, np.int32),
        "width": np.full(samples, SIDE, np.int32),
        "area_ratio": area / SIDE**2,
        "target_area_original": area,
        "target_area_input": area,
        "mask_rle": [EMPTY_RLE] * samples,
    }
    noise = own.normal(0, 0.12, samples)
    for protocol in PROTOCOLS:
        wanted = np.clip(0.55 + quality + difficulty + noise + PROTOCOL_SHIFT[protocol], 0.0, 0.98)
        union = np.maximum(area, 1) + (area * (1 - wanted) * 0.5).astype(np.int64)
        intersection = np.minimum((wanted * union).astype(np.int64), area)
        columns[f"intersection_{protocol}"] = intersection
        columns[f"union_{protocol}"] = union
        columns[f"iou_{protocol}"] = intersection / union
        columns[f"boundary_iou_{protocol}"] = None
    return pd.DataFrame(columns)


def record_rows(
    run_id: str,
    variant: str,
    *,
    seed: int,
    split: str,
    frame: pd.DataFrame,
    scale: str,
    recipe: str,
    train_sets: tuple[str, ...],
    samples: int | None = None,
) -> list[dict[str, object]]:
    """Return the record of a run for one split: a row per protocol, aggregated from the samples."""
    rows = []
    for protocol in PROTOCOLS:
        iou = frame[f"iou_{protocol}"]
        intersection, union = frame[f"intersection_{protocol}"].sum(), frame[f"union_{protocol}"].sum()
        rows.append(
            {
                **_constant_fields(run_id, variant, scale),
                "recipe": recipe,
                "seed": seed,
                "train_sets": list(train_sets),
                "left_out_json": "{}",
                "split": split,
                "protocol": protocol,
                "samples": samples or len(frame),
                "images": frame["image_id"].nunique(),
                "oiou": intersection / union,
                "miou": iou.mean(),
                **{f"precision_at_{round(100 * x)}": (iou > x).mean() for x in PRECISION_THRESHOLDS},
                "all_background_oiou": 0.0,
                "all_background_miou": 0.0,
                "all_image_oiou": frame["target_area_original"].sum() / (len(frame) * SIDE**2),
                "all_image_miou": frame["area_ratio"].mean(),
            }
        )
    return rows


def _constant_fields(run_id: str, variant: str, scale: str) -> dict[str, object]:
    return {
        "run_id": run_id,
        "content_hash": run_id[-12:],
        "variant": variant,
        "cells": ["fpn/fake"],
        "scale": scale,
        "protocol_version": 1,
        "empty_unions": 0,
        "skipped": 0,
        "skipped_refs_json": None,
        "cut_sentences": None,
        "public_scores_json": None,
        **dict.fromkeys(("rescored_json", "evaluated_json", "checkpoint_selection")),
        **dict.fromkeys(("n_acc", "t_acc", "giou", "ciou", "boundary_iou")),
        "system": None,
        "predictions_json": None,
        "million_params": 1.2,
        "gmacs": 0.11,
        "cost_json": json.dumps({"encoder": {"million_params": 0.9, "gmacs": 0.08}}),
        "seconds_per_step": 0.2,
        "train_samples_per_second": 80.0,
        "mfu": 0.4,
        "worker_hours": 0.01,
        "evaluate_samples_per_second": 300.0,
        "peak_memory_mib": 512.0,
        "epochs": 5,
        "steps": 500,
        "final_loss": 0.4,
        "world_size": 1,
        "batch_norm": "global",
        "config_json": json.dumps(
            {"model": {"scale": scale}, "seed": 0, "train": {"epochs": 5}, "evaluation": {"threshold": 0.35}}
        ),
        "data_fingerprint": "fake",
        "git_commit": "0123456789abcdef",
        "git_dirty": False,
        "versions_json": json.dumps({"python": "3.11"}),
        "hardware_json": json.dumps({"cpu": "fake"}),
        "started": "2026-11-22T08:00:00+00:00",
        "seconds": 60.0,
        "plugins_json": None,
    }


def write_thresholds(root: Path, run_id: str, split: str, *, best: float) -> None:
    """Write counts over thresholds of a run; its intersections at `best` are those of the per-sample rows."""
    samples = read_table(samples_path(root, run_id, split), SAMPLE_SCHEMA)
    parts = []
    for threshold in GRID:
        part = samples[[*KEYS, *count_columns()]].assign(threshold=threshold)
        for protocol in PROTOCOLS:
            kept = part[f"intersection_{protocol}"] * (1 - abs(threshold - best))
            part[f"intersection_{protocol}"] = kept.astype(np.int64)
        parts.append(part)
    write_table(thresholds_path(root, run_id, split), pd.concat(parts), threshold_schema())


def history_frame(seed: int, epochs: int = 5) -> pd.DataFrame:
    """Return a made-up training curve."""
    noise = np.random.default_rng(seed).normal(0, 0.01, epochs)
    epoch = np.arange(1, epochs + 1)
    loss = 0.4 + 0.8 * np.exp(-epoch / 2) + noise
    return pd.DataFrame(
        {
            "epoch": epoch,
            "step": epoch * 100,
            "samples": 4000,
            "skipped_steps": 0,
            "loss": loss,
            "bce": loss * 0.7,
            "dice": loss * 0.3,
            "gradient_norm": 1.0,
            "learning_rate": 1e-4 * (1 - (epoch - 1) / epochs),
            "world_size": 1,
            "seconds": 12.0,
            "data_seconds": 1.0,
            "mfu": 0.4,
            "micro_batch_size": 14,
        }
    )


def write_costs(root: Path) -> None:
    """Write the cost files of table VII(a): the numbers that model.md prints for the design."""
    fpn = {NO_FPN: (0.394, 0.362), TWO: (4.204, 4.882), THREE: (6.304, 7.322), FULL: (8.404, 9.762)}
    for variant, (million_params, gmacs) in fpn.items():
        parts = {
            "embedding": (49.7, 0.5),
            "encoder": (171.83, 94.19),
            "fpn": (million_params, gmacs),
            "decoder": (3.15, 3.77),
            "head": (5.51, 46.31),
        }
        rows = [
            {
                "variant": variant,
                "scale": "base",
                "image_size": 480,
                "text_tokens": 20,
                "component": name,
                "million_params": params,
                "gmacs": cost,
            }
            for name, (params, cost) in parts.items()
        ]
        write_table(cost_path(root, "base", variant), pd.DataFrame(rows), COST_SCHEMA)
