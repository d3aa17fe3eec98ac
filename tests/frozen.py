"""Values that a refactoring must not change, and the command that writes them anew.

    python -m tests.frozen                 write every file of tests/golden/frozen
    python -m tests.frozen help.txt        write the named files only, after a change that was meant

With help.txt it writes docs/commands.md too.

`tests/test_frozen.py` compares what this module computes with the stored files. `training.json` holds two kinds of
values. Facts, losses and scores hold on every machine, the latter two within a tolerance. Digests of weights,
histories, records and samples hold bit for bit, on a machine whose key is stored. Running the command on another
machine adds its key. Where the results of a known machine have changed, the command drops the keys of all others.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow.parquet as pq

from docs.site import commands_page
from pipeline.cli.commands import COMMANDS, GROUPS
from pipeline.cli.main import main
from pipeline.config import (
    RunConfig,
)
from pipeline.data.prepared.manifest import IMAGE_SCHEMA, REF_SCHEMA, load_manifest
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.recipes import DEFAULT_SET, default_run
from pipeline.records import (
    COST_SCHEMA,
    HISTORY_SCHEMA,
    RECORD_SCHEMA,
    SAMPLE_SCHEMA,
)
from reports.build import build_tables, write_tables
from reports.run_selection import Wanted
from sharedris.scales import SCALES
from sweeps.registry import SWEEPS
from sweeps.spec import cells_of
from tests.frozen_training import GOLDEN, OTHER_SET, SET, digest_of, json_text, training_text
from tests.reports import synthetic_runs

FINGERPRINT = "0123456789abcdef"
"""Of the data of all identities; the test gives it, so that no data is needed."""

SEEDS = (0, 1)
TABLE_SUFFIXES = ("md", "tex", "csv", "html")
WIDTH = "100"
PLACES = ("image_root", "source", "signature", "image_folder", "file_digests", "rows_digests")
"""Fields of a manifest that depend on where, when and by which parquet library a set was prepared, and the digests that
the fingerprint is made of."""


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
    return json_text({"fingerprint": FINGERPRINT, "runs": dict(sorted(runs.items())), "cells": cells})


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


def help_texts() -> str:
    """Return what `--help` prints, at 100 columns, for every group and command."""
    blocks = []
    with patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1"}):
        for path in ((), *GROUPS, *COMMANDS):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
                main([*path, "--help"])
            blocks.append(f"$ {' '.join(('sharedris', *path))} --help\n{printed.getvalue()}")
    return "\n".join(blocks)


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
            part: digest_of(pq.read_table(prepared / name / f"{part}.parquet").to_pylist()) for part in kept["splits"]
        }
        found[name] = {"manifest": kept, "files": sorted(files), "rows": rows}
    return json_text(found)


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
    if "help.txt" in texts:  # the page of commands is made from it
        commands_page.PAGE.write_text(commands_page.make_page(texts["help.txt"]), encoding="utf-8")
    return changed


if __name__ == "__main__":
    print("changed:", ", ".join(write(sys.argv[1:])) or "nothing")
