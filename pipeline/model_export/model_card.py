"""The model card of a run, made from its record: no number in it is written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from pipeline.data.catalog import SETS
from pipeline.model_export.data_license import license_of, model_license
from pipeline.records import RECORD_SCHEMA, list_runs, read_table, record_path
from sharedris.errors import InputError
from sharedris.hub import LIBRARY, TAGS, TASK

_SCORES = {
    "oiou": "oIoU",
    "miou": "mIoU",
    "precision_at_50": "P@0.5",
    "precision_at_70": "P@0.7",
    "precision_at_90": "P@0.9",
}


@dataclass(frozen=True, kw_only=True)
class CardSource:
    """What a card is made from.

    Attributes:
        rows: the record of the run.
        siblings: seed -> record of every run of the same recipe, variant and data, this one included.
    """

    rows: pd.DataFrame
    siblings: dict[int, pd.DataFrame]


def read_card_source(runs_root: Path, run_id: str) -> CardSource:
    """Read the record of a run, and those of its other seeds.

    Raises:
        InputError: when the run has no record.
    """
    path = record_path(runs_root, run_id)
    if not path.exists():
        raise InputError(
            f"{run_id} has no record below {runs_root}", "A model card is made from it: name its runs folder by --runs"
        )
    rows = read_table(path, RECORD_SCHEMA)
    siblings = {}
    for other in list_runs(runs_root):
        found = read_table(record_path(runs_root, other), RECORD_SCHEMA)
        alike = ["recipe", "variant", "scale", "data_fingerprint"]
        if (found[alike].iloc[0] == rows[alike].iloc[0]).all():
            siblings[int(found["seed"][0])] = found
    return CardSource(rows=rows, siblings=dict(sorted(siblings.items())))


def model_card(source: CardSource) -> str:
    """Return the README.md of a Hub folder: metadata of the Hub, then what the record holds."""
    rows = source.rows
    first = rows.iloc[0]
    sections = [
        f"# {first['run_id']}",
        f"A Shared-RIS model for referring image segmentation: an image and a sentence in, a mask out. "
        f"Scale {first['scale']}, variant `{first['variant']}`, {first['million_params']:.2f} M parameters.",
        '```python\nfrom sharedris import Predictor\n\npredictor = Predictor.from_pretrained("THIS FOLDER OR ID")\n'
        'mask_HW = predictor.predict("photo.jpg", "the dog on the left").mask_HW\n```',
        f"## Scores\n\n{_score_table(rows)}\n\nProtocols are explained in the project's docs/protocols.md. "
        f"{_trivial(rows)}",
        f"## Seeds\n\n{_seeds(source)}",
        f"## Training\n\n{_training(first)}",
        f"## Data and licenses\n\n{_licenses(first['train_sets'])}",
        f"## Not tested on\n\n{_untested(source)}",
        f"## Provenance\n\n{_provenance(first)}",
    ]
    return f"---\n{_metadata(rows).to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(rows: pd.DataFrame) -> ModelCardData:
    first = rows.iloc[0]
    results = [
        EvalResult(
            task_type=TASK,
            task_name="referring image segmentation",
            dataset_type=row["split"].split("/")[0],
            dataset_name=row["split"],
            dataset_split=row["split"].split("/")[1],
            metric_type=metric,
            metric_name=f"{_SCORES[metric]} (protocol original, version {row['protocol_version']})",
            metric_value=round(100 * float(row[metric]), 2),
        )
        for _, row in _original(rows).iterrows()
        for metric in ("oiou", "miou")
    ]
    license_name = model_license(first["train_sets"])
    return ModelCardData(
        language="en",
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=list(TAGS),
        license=license_name,
        license_name="see-data-and-licenses" if license_name == "other" else None,
        model_name=str(first["run_id"]),
        eval_results=results,
    )


def _original(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["protocol"] == "original"]


def _score_table(rows: pd.DataFrame) -> str:
    header = ["split", "protocol", "samples", "images", *_SCORES.values()]
    lines = [_line(header), _line(["---", "---", *["---:"] * (len(header) - 2)])]
    for _, row in rows.iterrows():
        scores = [f"{100 * row[name]:.2f}" for name in _SCORES]
        counts = [str(row["samples"]), str(row["images"])]
        lines.append(_line([row["split"], f"{row['protocol']} v{row['protocol_version']}", *counts, *scores]))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _trivial(rows: pd.DataFrame) -> str:
    row = _original(rows).iloc[0]
    return (
        f"On {row['split']} a mask of the whole image has oIoU {100 * row['all_image_oiou']:.2f} and an empty one "
        f"{100 * row['all_background_oiou']:.2f}; {row['empty_unions']} samples have two empty masks."
    )


def _seeds(source: CardSource) -> str:
    split = _original(source.rows)["split"].iloc[0]
    found = {}
    for seed, rows in source.siblings.items():
        chosen = _original(rows)[_original(rows)["split"] == split]
        if len(chosen):
            found[seed] = 100 * float(chosen["oiou"].iloc[0])
    listed = ", ".join(f"seed {seed}: {value:.2f}" for seed, value in found.items())
    text = f"oIoU on {split}, protocol original, of all recorded runs of this recipe: {listed}."
    if len(found) == 1:
        return f"{text} One training: how much the score varies between trainings was not measured."
    values = pd.Series(found)
    return f"{text} Mean {values.mean():.2f}, standard deviation {values.std():.2f} over {len(found)} trainings."


def _training(first: Any) -> str:
    config = json.loads(first["config_json"])
    train = config.get("train", {})
    weights = {name: value for name, value in train.items() if "weights" in name and value}
    lines = [
        f"- Sets: {', '.join(first['train_sets'])}; fingerprint of the data `{first['data_fingerprint']}`.",
        f"- Seed {first['seed']}, {first['epochs']} epochs, {first['steps']} steps, precision "
        f"{train.get('precision', 'as the default')}, {first['world_size']} worker(s).",
        f"- Starting weights: {json.dumps(weights) if weights else 'random'}.",
        f"- Weights scored: {_text(first['checkpoint_selection'], 'of the last epoch')}.",
        f"- Cost: {first['gmacs']:.2f} GMACs per sample, {first['seconds'] / 3600:.2f} hours, peak memory "
        f"{first['peak_memory_mib']:.0f} MiB, on {_hardware(first['hardware_json'])}.",
    ]
    return "\n".join(lines)


def _text(value: object, otherwise: str = "") -> str:
    """Return a nullable column's text; pandas holds a number where there is none."""
    return value if isinstance(value, str) else otherwise


def _hardware(text: str) -> str:
    values = json.loads(text)
    device = values.get("gpu") or values.get("processor") or values.get("machine")
    return f"{device} ({values.get('workers', 1)} worker(s))"


def _licenses(train_sets: Iterable[str]) -> str:
    lines = [f"- {name}: {license_of(name)}." for name in train_sets]
    return "\n".join(lines) + "\n\nThe code is MIT. Check the licenses of the data before you use the weights."


def _untested(source: CardSource) -> str:
    rows = source.rows
    scored = set(rows["split"])
    sets = {name.split("/")[0] for name in scored}
    known = [f"{name}/{split}" for name in sorted(sets) if name in SETS for split in SETS[name].splits]
    missing = [split for split in known if split not in scored and not split.endswith("/train")]
    lines = []
    if missing:
        lines.append(f"- Other splits of the same sets: {', '.join(missing)}.")
    others = [name for name in SETS if name not in sets]
    lines.append(f"- Other sets: {', '.join(others)}, and any data of your own.")
    if all(name.startswith("toy") for name in sets):
        lines.append("- Photographs: it was trained and scored on drawn scenes only.")
    if rows["n_acc"].isna().all():
        lines.append("- Sentences that name nothing in the image, or several objects: no scored split has them.")
    lines.append("- Languages other than English, video, medical or aerial images, and bias between groups of people.")
    return "\n".join(lines)


def _provenance(first: Any) -> str:
    versions = json.loads(first["versions_json"])
    dirty = " with uncommitted changes" if first["git_dirty"] else ""
    lines = [
        f"- Run `{first['run_id']}`, content hash `{first['content_hash']}`, recipe `{first['recipe']}`.",
        f"- Commit `{first['git_commit']}`{dirty}; torch {versions.get('torch')}, Python {versions.get('python')}.",
        f"- Started {first['started']}.",
    ]
    if plugins := _text(first["plugins_json"]):
        lines.append(f"- Needs plugins, by SHA-256: `{plugins}`.")
    return "\n".join(lines)
