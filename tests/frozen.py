"""Values that a refactoring must not change, and the command that writes them anew.

    python -m tests.frozen                 write every file of tests/golden/frozen
    python -m tests.frozen help.txt        write the named files only, after a change that was meant

`tests/test_frozen.py` compares what this module computes with the stored files. `training.json` holds two kinds of
values. Facts, losses and scores hold on every machine, the latter two within a tolerance. Digests of weights,
histories, records and samples hold bit for bit, on a machine whose key is stored. Running the command on another
machine adds its key. Where the results of a known machine have changed, the command drops the keys of all others.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from pipeline.cli.main import main as main_of_sharedris
from pipeline.config import (
    DataConfig,
    EvaluationConfig,
    ExecutionConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
    replace_at,
)
from pipeline.data.prepared.manifest import IMAGE_SCHEMA, REF_SCHEMA, load_manifest
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.evaluation.metrics import PRECISION_THRESHOLDS
from pipeline.job import Job, resolve_job
from pipeline.recipes import DEFAULT_SET, default_run
from pipeline.records import (
    COST_SCHEMA,
    HISTORY_SCHEMA,
    RECORD_SCHEMA,
    SAMPLE_SCHEMA,
    history_path,
    record_path,
    samples_path,
)
from pipeline.run import run_in_process
from reports.__main__ import main as main_of_reports
from reports.build import build_tables, write_tables
from reports.run_selection import Wanted
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
from sharedris.scales import SCALES
from sweeps.__main__ import main as main_of_sweeps
from sweeps.registry import SWEEPS
from sweeps.spec import cells_of
from tests.integration import workers
from tests.reports import synthetic_runs

GOLDEN = Path(__file__).resolve().parent / "golden" / "frozen"
FINGERPRINT = "0123456789abcdef"
"""Of the data of all identities; the test gives it, so that no data is needed."""

SEEDS = (0, 1)
SET, OTHER_SET = "toy_unc", "toyplus_unc"
TABLE_SUFFIXES = ("md", "tex", "csv", "html")
WIDTH = "100"
PLACES = ("image_root", "source", "signature", "image_folder", "file_digests", "rows_digests")
"""Fields of a manifest that depend on where, when and by which parquet library a set was prepared, and the digests that
the fingerprint is made of."""

LOSS_TOLERANCE, SCORE_TOLERANCE = 1e-3, 0.02
"""Relative for losses, absolute for scores: what another CPU's kernels may change."""

BY_MACHINE = ("hardware_json", *workers.TIMES)
BY_KERNELS = ("oiou", "miou", *(f"precision_at_{round(100 * level)}" for level in PRECISION_THRESHOLDS))
BY_KERNELS += ("final_loss", "empty_unions")
ADDED = ("skipped_refs_json", "rescored_json")
"""Nullable columns that records have got since the results were stored; these runs leave them null."""
COUNTED = ("cut_sentences",)
"""Columns that records have got since then and that these runs fill; compared by their own tests only."""

_PROVENANCE = {"git_commit": "frozen", "git_dirty": False, "versions_json": "{}"}


def identities() -> str:
    """Return run id, content hash and recipe of every cell of every shipped sweep, at all scales, as JSON."""
    runs: dict[str, str] = {}
    cells: dict[str, dict[str, str]] = {}
    for sweep in SWEEPS.values():
        for scale in SCALES:
            for seed in SEEDS:

                def make_default(seed: int, own: str | None, scale: str = scale) -> RunConfig:
                    return default_run(scale=own or scale, train_sets=(DEFAULT_SET,), seed=seed)

                lines = cells.setdefault(f"{sweep.name} {scale} s{seed}", {})
                for cell in cells_of(sweep, make_default, (seed,)):
                    names, config = " = ".join(cell.names), cell.config
                    lines[names] = "not built" if config is None else config.run_id(FINGERPRINT)
                    if config is not None:
                        hashes = f"{config.content_hash(FINGERPRINT)} {config.recipe(FINGERPRINT)}"
                        runs[lines[names]] = f"{hashes} {config.model.variant}"
    return _json({"fingerprint": FINGERPRINT, "runs": dict(sorted(runs.items())), "cells": cells})


def schemas() -> str:
    """Return names and Arrow types, in order, of every schema of a file."""
    named = {
        "RECORD": RECORD_SCHEMA,
        "SAMPLE": SAMPLE_SCHEMA,
        "HISTORY": HISTORY_SCHEMA,
        "COST": COST_SCHEMA,
        "prepared split": REF_SCHEMA,
        "embedded images": IMAGE_SCHEMA,
    }
    blocks = ["\n".join([name, *(f"  {field.name}: {field.type}" for field in named[name])]) for name in named]
    return "\n\n".join(blocks) + "\n"


def table_texts() -> dict[str, str]:
    """Return table VII (a) of made-up records in every format, by file name; and its differences as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        synthetic_runs.write_runs(root, seeds=(0, 1))
        synthetic_runs.write_costs(root)
        report = build_tables(root, ["VII-a"], Wanted(), statistics=True, draws=200)
        assert not report.problems, report.problems
        write_tables(report.tables, root / "out")
        texts = {f"VII-a.{suffix}": root / "out/tables" / f"VII-a.{suffix}" for suffix in TABLE_SUFFIXES}
        beside = [root / "out/tables" / f"{table.name}.md" for table in report.tables[1:]]
        joined = "\n".join(path.read_text() for path in beside)
        return {**{name: path.read_text() for name, path in texts.items()}, "VII-a-beside.md": joined}


class _Caught(BaseException):
    """Carries a parser out of the command that made it; a command turns every Exception into an exit code."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__("a parser")
        self.parser = parser


def help_texts() -> str:
    """Return what `--help` prints, at 100 columns, for every command and sub-command."""
    plain = {"COLUMNS": WIDTH, "NO_COLOR": "1", "PYTHON_COLORS": "0"}
    blocks: list[str] = []
    with patch.dict(os.environ, plain):
        for main in (main_of_sharedris, main_of_sweeps, main_of_reports):
            top = _parser_of(main, [])
            blocks.append(f"$ {top.prog} --help\n{top.format_help()}")
            for name in _subparsers(top):
                blocks += _help_below(_subparsers(_parser_of(main, [name]))[name])
    return "\n".join(blocks)


def _parser_of(main: Callable[[list[str]], Any], arguments: list[str]) -> argparse.ArgumentParser:
    def raise_it(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Caught(parser)

    try:
        with patch.object(argparse.ArgumentParser, "parse_args", raise_it):
            main(arguments)
    except _Caught as caught:
        return caught.parser
    raise AssertionError(f"{main} parsed no arguments")


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: each for group in groups for name, each in group.choices.items()}


def _help_below(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"$ {parser.prog} --help\n{parser.format_help()}"
    for each in _subparsers(parser).values():
        yield from _help_below(each)


def prepare_sets(folder: Path) -> Path:
    """Prepare two small synthetic sets with the first one's tokenizer; return the prepared root."""
    root = folder / "prepared"
    for name in (SET, OTHER_SET):
        write_synthetic(folder / "refer", name, expressions=40, seed=0)
        tokenizer = None if name == SET else load_manifest(root, SET).tokenizer_path
        prepare_source(read_refer(folder / "refer", name), root, tokenizer=tokenizer)
    return root


def prepared_data(prepared: Path) -> str:
    """Return manifest, fingerprint and digests of the rows of the prepared sets as JSON."""
    found: dict[str, Any] = {}
    for name in (SET, OTHER_SET):
        manifest = json.loads((prepared / name / "dataset.json").read_text())
        kept = {key: value for key, value in manifest.items() if key not in PLACES}
        files = {path.name for path in (prepared / name).iterdir()}
        rows = {
            part: _digest(pq.read_table(prepared / name / f"{part}.parquet").to_pylist()) for part in kept["splits"]
        }
        found[name] = {"manifest": kept, "files": sorted(files), "rows": rows}
    return _json(found)


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
    record = record.drop(columns=[*ADDED, *COUNTED])
    facts = record.drop(columns=[*BY_MACHINE, *BY_KERNELS])
    samples = [pd.read_parquet(samples_path(job.runs_root, job.run_id, split)) for split in _splits(record)]
    return {
        "facts": {column: _distinct(facts[column].tolist()) for column in facts},
        "losses": history["loss"].tolist(),
        "scores": {
            f"{row['split']} {row['protocol']}": [row["oiou"], row["miou"]] for row in record.to_dict("records")
        },
        "bits": {
            "weights": _weights_digest(job.model_folder / "model.safetensors"),
            "history": _digest(history.drop(columns=["seconds", "data_seconds"])),
            "record": _digest(record.drop(columns=list(BY_MACHINE))),
            "samples": _digest(pd.concat(samples)),
        },
    }


def _splits(record: pd.DataFrame) -> list[str]:
    return sorted(set(record["split"]))


def _distinct(values: list[Any]) -> list[Any]:
    """Return the values of a column as JSON holds them, each once; long texts as digests."""
    plain = [value.tolist() if hasattr(value, "tolist") else value for value in values]
    plain = [None if isinstance(value, float) and math.isnan(value) else value for value in plain]
    short = [_digest(value) if isinstance(value, str) and len(value) > 100 else value for value in plain]
    return [value for position, value in enumerate(short) if value not in short[:position]]


def _weights_digest(path: Path) -> str:
    """Return a digest of names, types, shapes and raw bytes of the tensors of a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _digest(values: Any) -> str:
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
    lines = difference(_json(expected["facts"]), _json(got["facts"]))
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
    return _json({"machines": {**others, machine: bits}, "trainings": results}, indent=1)


def _json(values: Any, indent: int = 1) -> str:
    return json.dumps(values, indent=indent, ensure_ascii=False) + "\n"


def write(names: Sequence[str] = ()) -> list[str]:
    """Write the golden files, or the named ones; return the names of those that changed."""
    texts: dict[str, str] = {}

    def wanted(*candidates: str) -> bool:
        return not names or bool({*names} & {*candidates})

    makers = {"identities.json": identities, "schemas.txt": schemas, "help.txt": help_texts}
    texts.update({name: make() for name, make in makers.items() if wanted(name)})
    table_names = [*(f"VII-a.{suffix}" for suffix in TABLE_SUFFIXES), "VII-a-beside.md"]
    if wanted(*table_names):
        texts.update({name: text for name, text in table_texts().items() if wanted(name)})
    if wanted("data.json", "training.json"):
        with tempfile.TemporaryDirectory() as folder:
            prepared = prepare_sets(Path(folder))
            if wanted("data.json"):
                texts["data.json"] = prepared_data(prepared)
            if wanted("training.json"):
                texts["training.json"] = training_text(prepared, Path(folder))
    if unknown := sorted({*names} - {*texts}):
        raise SystemExit(f"no file {', '.join(unknown)}")
    GOLDEN.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in texts.items():
        path = GOLDEN / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


if __name__ == "__main__":
    print("changed:", ", ".join(write(sys.argv[1:])) or "nothing")
