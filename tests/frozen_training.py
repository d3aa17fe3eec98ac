"""Short trainings whose weights, histories, records and samples must not change, to the bit where the machine is known.

`tests/frozen.py` writes them to `training.json`, and its head explains the two kinds of values.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import torch
from safetensors.torch import load_file

from pipeline.config import (
    DataConfig,
    EvaluationConfig,
    ExecutionConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
    replace_at,
)
from pipeline.evaluation.metrics import PRECISION_THRESHOLDS
from pipeline.evaluation.named_rules import named_evaluators
from pipeline.job import Job, resolve_job
from pipeline.records import (
    history_path,
    record_path,
    samples_path,
)
from pipeline.run import run_in_process
from sharedris.baselines.config import (
    CgformerConfig,
    ComparedDecoderConfig,
    ComparedFpnConfig,
    ComparedModelConfig,
    DmmiConfig,
    SwinConfig,
    SystemConfig,
    VitdetConfig,
)
from sharedris.config import EncoderConfig, FusionConfig, HeadConfig
from tests.integration import workers

GOLDEN = Path(__file__).resolve().parent / "golden" / "frozen"
SET, OTHER_SET = "toy_unc", "toyplus_unc"

LOSS_TOLERANCE, SCORE_TOLERANCE = 1e-3, 0.02
"""Relative for losses, absolute for scores: what another CPU's kernels may change."""

BY_MACHINE = ("hardware_json", *workers.TIMES)
BY_KERNELS = ("oiou", "miou", *(f"precision_at_{round(100 * level)}" for level in PRECISION_THRESHOLDS))
BY_KERNELS += ("final_loss", "empty_unions")
ADDED = (
    "skipped_refs_json",
    "rescored_json",
    "evaluated_json",
    "checkpoint_selection",
    "system",
    "predictions_json",
    "n_acc",
    "t_acc",
    "giou",
    "ciou",
)
"""Nullable columns that records have got since the results were stored; these runs leave them null."""
COUNTED = ("cut_sentences", "public_scores_json", "boundary_iou")
"""Columns that records have got since then and that these runs fill; compared by their own tests only."""
COUNTED_PER_SAMPLE = ("boundary_iou_paper", "boundary_iou_original", "boundary_iou_input")
"""The same of per-sample rows."""

_PROVENANCE = {"git_commit": "frozen", "git_dirty": False, "versions_json": "{}"}


def _fusion() -> FusionConfig:
    return FusionConfig(heads=2, mlp_width=32, bi_width=32, bi_heads=2)


def micro_model() -> ComparedModelConfig:
    """Return a model of two layers at 32x32 pixels. It is not the fixture's: a change of that must not reach here."""
    widths = (32, 16, 16, 8)
    return ComparedModelConfig(
        scale="micro",
        width=16,
        encoder=EncoderConfig(
            width=16,
            layers=2,
            heads=2,
            mlp_width=32,
            patch_size=8,
            image_size=32,
            vocabulary_size=1024,
            text_positions=32,
        ),
        fpn=ComparedFpnConfig(stages=(1, 2), fusion=_fusion()),
        decoder=ComparedDecoderConfig(
            fusion=_fusion(),
            cgformer=CgformerConfig(pyramid_widths=widths, token_width=16, upsample_blocks=0),
            dmmi=DmmiConfig(pyramid_widths=widths, width=16, heads=2, mlp_width=32),
        ),
        head=HeadConfig(class_token_hidden=16),
        system=SystemConfig(
            stages=(1, 1, 2, 2),
            vitdet=VitdetConfig(width=16, convolutions=1),
            swin=SwinConfig(width=8, depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), window=4),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Training:
    """One frozen training: what differs from the micro run.

    Attributes:
        threshold: of the probabilities. A short training answers nearly the same everywhere. The threshold lies amid
            its answers, so that its masks are neither empty nor the whole image.
        changes: dotted field of the RunConfig -> value.
        workers: processes that train together over gloo; one trains in this process.
    """

    threshold: float

    changes: dict[str, Any] = field(default_factory=dict)
    workers: int = 1
    micro_batch_size: int | None = None

    def job(self, prepared: Path, runs: Path) -> Job:
        """Return the job, with its runs below the given folder."""
        config = RunConfig(
            model=micro_model(),
            data=DataConfig(train_sets=(SET,), evaluate_splits=(f"{SET}/val",)),
            optim=OptimConfig(learning_rate=1e-3),
            train=TrainConfig(epochs=2, global_batch_size=6, precision="fp32", max_samples_per_epoch=24),
            evaluation=EvaluationConfig(threshold=self.threshold),
        )
        for path, value in self.changes.items():
            config = replace_at(config, path, value)
        execution = ExecutionConfig(
            device="cpu",
            prepared_root=str(prepared),
            runs_root=str(runs),
            workers=self.workers,
            micro_batch_size=self.micro_batch_size,
        )
        return resolve_job(config, execution, cells=("frozen/cell",), provenance=_PROVENANCE)


def _modules(fpn: str, decoder: str) -> dict[str, Any]:
    model = micro_model()
    return {
        "model.fpn": replace(model.fpn, kind=fpn),
        "model.decoder": replace(model.decoder, kind=decoder),
        "train.epochs": 1,
    }


TRAININGS: dict[str, Training] = {
    "default": Training(threshold=0.4784),
    "default, two workers": Training(threshold=0.4775, workers=2),
    "two forwards a step, two sets": Training(
        threshold=0.4805,
        changes={
            "data": DataConfig(
                train_sets=(SET, OTHER_SET),
                evaluate_splits=(f"{SET}/val", f"{OTHER_SET}/testA"),
                horizontal_flip=True,
            ),
            "optim.warmup_steps": 2,
            "train.epochs": 1,
        },
        micro_batch_size=3,
    ),
    "cross_attention, bi_direction": Training(threshold=0.4691, changes=_modules("cross_attention", "bi_direction")),
    "pwam, cgformer": Training(threshold=0.4095, changes=_modules("pwam", "cgformer")),
    "bi_direction, dmmi": Training(threshold=0.5166, changes=_modules("bi_direction", "dmmi")),
    "vitdet": Training(threshold=0.4975, changes={"model.system.kind": "vitdet", "train.epochs": 1}),
}


def machine_key() -> str:
    """Return what decides the bits of a result on a CPU."""
    lines: Sequence[str] = ()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor()
    return f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()}, {cpu}"


def train(name: str, prepared: Path, folder: Path) -> dict[str, Any]:
    """Train one of `TRAININGS`; return its facts, losses, scores and, as `bits`, digests of all that it left."""
    training = TRAININGS[name]
    job = training.job(prepared, folder / "runs")
    if training.workers > 1:
        assert workers.finish(workers.start(job, training.workers)) == [0] * training.workers
    else:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            run_in_process(job)
        finally:
            torch.set_num_threads(before)
    record = pd.read_parquet(record_path(job.runs_root, job.run_id))
    history = pd.read_parquet(history_path(job.runs_root, job.run_id))
    assert record[list(ADDED)].isna().all(axis=None), f"{ADDED} hold what is new"
    own = [evaluator.name for evaluator in named_evaluators(job.config.model, [])]
    found = [[] if pd.isna(text) else list(json.loads(text)) for text in record["public_scores_json"]]
    assert found == [own] * len(record), "rows of other papers have a second score in every record, others have none"
    record = record.drop(columns=[*ADDED, *COUNTED])
    facts = record.drop(columns=[*BY_MACHINE, *BY_KERNELS])
    samples = [pd.read_parquet(samples_path(job.runs_root, job.run_id, split)) for split in _splits(record)]
    samples = [rows.drop(columns=list(COUNTED_PER_SAMPLE)) for rows in samples]
    return {
        "facts": {column: _distinct(facts[column].tolist()) for column in facts},
        "losses": history["loss"].tolist(),
        "scores": {
            f"{row['split']} {row['protocol']}": [row["oiou"], row["miou"]] for row in record.to_dict("records")
        },
        "bits": {
            "weights": _weights_digest(job.model_folder / "model.safetensors"),
            "history": digest_of(history.drop(columns=["seconds", "data_seconds", "mfu"])),
            "record": digest_of(record.drop(columns=list(BY_MACHINE))),
            "samples": digest_of(pd.concat(samples)),
        },
    }


def _splits(record: pd.DataFrame) -> list[str]:
    return sorted(set(record["split"]))


def _distinct(values: list[Any]) -> list[Any]:
    """Return the values of a column as JSON holds them, each once; long texts as digests."""
    plain = [value.tolist() if hasattr(value, "tolist") else value for value in values]
    plain = [None if isinstance(value, float) and math.isnan(value) else value for value in plain]
    short = [digest_of(value) if isinstance(value, str) and len(value) > 100 else value for value in plain]
    return [value for position, value in enumerate(short) if value not in short[:position]]


def _weights_digest(path: Path) -> str:
    """Return a digest of names, types, shapes and raw bytes of the tensors of a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def digest_of(values: Any) -> str:
    """Return a digest of rows or a value; floats enter with all their digits."""
    if isinstance(values, pd.DataFrame):
        values = [
            {key: value.tolist() if hasattr(value, "tolist") else value for key, value in row.items()}
            for row in values.to_dict("records")
        ]
    return hashlib.sha256(repr(values).encode()).hexdigest()


def training_differences(name: str, stored: dict[str, Any], got: dict[str, Any], machine: str) -> list[str]:
    """Return what differs of a training: bits on a known machine, else losses and scores beyond the tolerance."""
    expected = stored["trainings"].get(name)
    if expected is None:
        return [f"{name}: is not stored"]
    lines = difference(json_text(expected["facts"]), json_text(got["facts"]))
    lines += _too_far("loss", expected["losses"], got["losses"], relative=LOSS_TOLERANCE)
    for split in sorted({*expected["scores"], *got["scores"]}):
        pair = expected["scores"].get(split, []), got["scores"].get(split, [])
        lines += _too_far(f"oIoU, mIoU of {split}", *pair, absolute=SCORE_TOLERANCE)
    bits = stored["machines"].get(machine, {}).get(name)
    if bits is not None:
        lines += [
            f"{part}: {bits.get(part)} became {got['bits'][part]}"
            for part in bits
            if bits[part] != got["bits"].get(part)
        ]
    return lines


def _too_far(
    what: str, expected: list[float], got: list[float], *, relative: float = 0.0, absolute: float = 0.0
) -> list[str]:
    near = len(expected) == len(got) and all(
        abs(one - other) <= absolute + relative * abs(one) for one, other in zip(expected, got, strict=True)
    )
    return [] if near else [f"{what}: {expected} became {got}"]


def difference(expected: str, got: str, most: int = 14) -> list[str]:
    """Return the first changed lines of a text."""
    lines = difflib.unified_diff(expected.splitlines(), got.splitlines(), "stored", "now", lineterm="", n=0)
    found = list(lines)[2:] or ([] if expected == got else ["line ends alone differ"])
    rest = [f"... and {len(found) - most} more lines"] if len(found) > most else []
    return [line[:300] for line in found[:most]] + rest


def stored_training() -> dict[str, Any]:
    """Return the stored trainings and the digests of every known machine."""
    path = GOLDEN / "training.json"
    return json.loads(path.read_text()) if path.exists() else {"machines": {}, "trainings": {}}


def training_text(prepared: Path, folder: Path) -> str:
    """Train all and return the new `training.json`; see the head of this module for which keys it keeps."""
    machine, stored = machine_key(), stored_training()
    results = {name: train(name, prepared, folder / str(number)) for number, name in enumerate(TRAININGS)}
    bits = {name: result.pop("bits") for name, result in results.items()}
    same = all(
        not training_differences(name, stored, {**result, "bits": bits[name]}, machine)
        for name, result in results.items()
    )
    others = stored["machines"] if same else {}
    if same:  # the losses stay those of the machine that wrote them first
        results = stored["trainings"]
    return json_text({"machines": {**others, machine: bits}, "trainings": results}, indent=1)


def json_text(values: Any, indent: int = 1) -> str:
    return json.dumps(values, indent=indent, ensure_ascii=False) + "\n"
