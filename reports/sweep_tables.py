"""The tables of any registered sweep: which there are, and which records belong to which of their rows.

A record belongs to a row where its config is what the row makes of the default at the record's scale; fields that no
row of the table changes are those of the record. So a row is found for any option (epochs, data) that a sweep was run
with, and for records that were trained by another command. Runs that differ in such a field are never in one table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.config import RunConfig, replace_at
from pipeline.identity import canonical
from pipeline.recipes import default_run
from pipeline.records import RecordError
from reports.paper import NUMERALS, TableSpec, all_names, split_name
from sharedris.config import from_dict
from sharedris.errors import InputError
from sweeps.registry import find_sweep
from sweeps.spec import Row, Sweep

PAPER_SCALE = "base"


@dataclass(frozen=True, kw_only=True)
class SweepTable:
    """One table of a sweep that the paper does not have."""

    name: str
    sweep: str
    rows: tuple[Row, ...]
    spec: TableSpec


def is_of_paper(table: str) -> bool:
    """Return whether a sweep's table is one of the paper's, by its exact name."""
    return table in (*NUMERALS, *all_names())


def own_tables(sweeps: Mapping[str, Sweep]) -> dict[str, SweepTable]:
    """Return the tables of all sweeps that the paper does not have, by their names."""
    found: dict[str, SweepTable] = {}
    for sweep in sweeps.values():
        own = {key: rows for key, rows in sweep.tables.items() if rows and not is_of_paper(key)}
        for key, rows in own.items():
            name = sweep.name if len(own) == 1 else f"{sweep.name}-{re.sub(r'[^A-Za-z0-9]+', '-', key).strip('-')}"
            spec = TableSpec(
                numeral=name,
                short=sweep.name if key == sweep.name else f"{sweep.name}: {key}",
                caption=f"{sweep.title[:1].upper()}{sweep.title[1:]}",
                first_heading="Row",
                published_split="",
            )
            found[name] = SweepTable(name=name, sweep=sweep.name, rows=rows, spec=spec)
    return found


def names_of(what: str, sweeps: Mapping[str, Sweep]) -> list[str]:
    """Return the tables that a word of the command line means: a table, or every table of a sweep.

    Raises:
        RecordError: for a sweep without rows, and a word that is neither; names what there is.
    """
    if what in own_tables(sweeps):
        return [what]
    with contextlib.suppress(RecordError):
        split_name(what)
        return [what]
    try:
        sweep = sweeps.get(what) or find_sweep(what)
    except InputError as error:
        if what.endswith(".py"):
            raise RecordError(error.message, error.remedy) from None
        known = f"Tables: {', '.join(all_names())}; sweeps: {', '.join(sweeps)}"
        raise RecordError(f"{what!r} is no table of the paper and no sweep", known) from None
    if not any(sweep.tables.values()):
        raise RecordError(f"sweep {what!r} has no rows: nothing to show", "Give its SWEEP some rows (docs/sweeps.md)")
    return [*(key for key in sweep.tables if is_of_paper(key)), *own_tables({sweep.name: sweep})]


def added_rows(name: str, variants: set[str], sweeps: Mapping[str, Sweep]) -> pd.DataFrame:
    """Return rows that sweeps have in a table of the paper and the paper has not, as rows without published numbers.

    Args:
        name: of the table.
        variants: those that are published there.
    """
    rows: dict[str, str] = {}
    for sweep in sweeps.values():
        for row in sweep.tables.get(name, ()):
            variant = _variant(row)
            if variant is not None and variant not in variants:
                rows.setdefault(variant, row.label)
    columns = {"method": list(rows.values()), "variant": list(rows), "scale": PAPER_SCALE, "marks": " (ours)"}
    return pd.DataFrame(columns).astype(str)


def _variant(row: Row) -> str | None:
    """Return the variant of a row at the paper's scale, None where it changes something else than the model."""
    only_model = all(change.part.startswith("model") for change in row.changes)
    return _model_variant(row) if only_model else None


@functools.cache
def _default(scale: str) -> RunConfig:
    return default_run(scale=scale)


def _model_variant(row: Row) -> str | None:
    if not row.built:
        return None
    config = _default(row.scale or PAPER_SCALE)
    try:
        for change in row.changes:
            config = change.apply(config) if change.part.startswith("model") else config
    except ValueError:
        return None
    return config.model.variant


def known_variants(sweeps: Mapping[str, Sweep]) -> set[str]:
    """Return the variants of all rows that are built; any other has no code here."""
    rows = {id(row): row for sweep in sweeps.values() for rows in sweep.tables.values() for row in rows}
    return {variant for row in rows.values() if (variant := _model_variant(row)) is not None}


def records_of(table: SweepTable, records: pd.DataFrame) -> pd.DataFrame:
    """Return the records that belong to a row of the table, with the row's label as their variant.

    Their recipe becomes a hash of all that no row of the table changes, so that rows of one recipe may be compared.
    """
    swept = sorted({f"{change.part}.{name}" for row in table.rows for change in row.changes for name in change.fields})
    found: dict[str, tuple[str, str]] = {}
    for run_id, of_run in records.groupby("run_id"):
        first = of_run.iloc[0]
        config = _config(first["config_json"])
        if config is not None and (base := _without(config, swept)) is not None:
            label = next((row.label for row in table.rows if _is_row(row, base, config)), None)
            if label is not None:
                found[str(run_id)] = (label, _recipe(base, str(first["data_fingerprint"])))
    rows = records[records["run_id"].isin(list(found))]
    return rows.assign(
        variant=[found[run_id][0] for run_id in rows["run_id"]], recipe=[found[run_id][1] for run_id in rows["run_id"]]
    )


def _config(text: str) -> RunConfig | None:
    """Return the config of a record; None where it names a module that no plugin of this process has."""
    try:
        config: RunConfig = from_dict(RunConfig, json.loads(text))
    except (ValueError, TypeError, AttributeError):
        return None
    return config


def _without(config: RunConfig, swept: list[str]) -> RunConfig | None:
    """Return a config with the swept fields at the default of its scale.

    Parts are set as a whole: one field of a part (stages of an FPN) may not be valid without the others.
    """
    if not swept:
        return config
    try:
        default = default_run(scale=config.model.scale, train_sets=config.data.train_sets)
        for part in sorted({path.rpartition(".")[0] for path in swept}):
            names = [path.rpartition(".")[2] for path in swept if path.rpartition(".")[0] == part]
            of_default = operator.attrgetter(part)(default)
            fields = {name: getattr(of_default, name) for name in names}
            config = replace_at(config, part, dataclasses.replace(operator.attrgetter(part)(config), **fields))
    except (ValueError, AttributeError, InputError):
        return None
    return config


def _is_row(row: Row, base: RunConfig, config: RunConfig) -> bool:
    if not row.built or row.scale not in (None, config.model.scale):
        return False
    try:
        return canonical(_apply(row, base)) == canonical(config)
    except ValueError:
        return False


def _apply(row: Row, config: RunConfig) -> RunConfig:
    for change in row.changes:
        config = change.apply(config)
    return config


def _recipe(base: RunConfig, data_fingerprint: str) -> str:
    values: dict[str, Any] = {**canonical(base), "seed": 0, "data_fingerprint": data_fingerprint}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def lines_of(table: SweepTable) -> pd.DataFrame:
    """Return the rows of a table in the columns of the published tables, without published numbers."""
    labels = list(dict.fromkeys(row.label for row in table.rows))
    built = {row.label: row.built for row in table.rows}
    return pd.DataFrame(
        {
            "part": "",
            "method": labels,
            "marks": "",
            "citation": "",
            "variant": labels,
            "scale": PAPER_SCALE,
            "trained_on": "",
            "built": [built[label] for label in labels],
        }
    )
