"""The paper's tables as declarations: rows, shared cells, scales, errors that name the row."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import RunConfig
from pipeline.recipes import default_run
from sharedris.errors import InputError
from sweeps.registry import SWEEPS, find_sweep
from sweeps.spec import NO_FPN, NO_FUSION, Change, Row, Sweep, cells_of, fpn

PUBLISHED = Path(__file__).resolve().parents[2] / "pipeline" / "published"


def tiny_default(seed: int, scale: str | None) -> RunConfig:
    return default_run(scale=scale or "tiny", seed=seed)


def test_the_28_rows_of_the_ablations_are_16_distinct_models() -> None:
    cells = cells_of(SWEEPS["ablations"], tiny_default, (0,))
    assert sum(len(cell.names) for cell in cells) == 28
    assert len(cells) == 16


def test_our_own_row_is_one_cell_that_serves_every_table() -> None:
    cells = cells_of(SWEEPS["ablations"], tiny_default, (0,))
    ours = next(cell for cell in cells if cell.config == tiny_default(0, None))
    assert {name.split("/")[0] for name in ours.names} == {"III", "IV", "V", "VII-a", "VII-b", "VIII-a", "VIII-b"}


def test_each_seed_is_a_cell_of_its_own() -> None:
    cells = cells_of(SWEEPS["fpn"], tiny_default, range(3))
    assert len(cells) == 12
    assert {cell.seed for cell in cells} == {0, 1, 2}
    assert len({cell.config.content_hash("d") for cell in cells if cell.config}) == 12


@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize("scale", ["tiny", "base", "large"])
def test_every_shipped_sweep_configures_at_every_scale(name: str, scale: str) -> None:
    cells = cells_of(SWEEPS[name], lambda seed, _: default_run(scale=scale, seed=seed), (0,))
    assert all(cell.config is None or cell.config.model.scale == scale for cell in cells)
    assert sum(len(cell.names) for cell in cells) == sum(len(rows) for rows in SWEEPS[name].tables.values())


def test_stages_are_those_of_twelve_layers_and_scale_with_the_encoder() -> None:
    change = fpn(stages=(4, 8, 12))
    assert change.apply(default_run(scale="tiny")).model.fpn.stages == (4, 8, 12)
    assert change.apply(default_run(scale="large")).model.fpn.stages == (8, 16, 24)


def test_fields_are_set_together() -> None:
    config = NO_FUSION.apply(NO_FPN.apply(default_run()))
    assert config.model.variant == "beit3|fpn=none()|decoder=none(0)"


def test_rows_that_are_not_built_are_kept() -> None:
    cells = cells_of(SWEEPS["all"], tiny_default, (0,))
    missing = {name for cell in cells if cell.config is None for name in cell.names}
    assert missing == {"VI/RISCLIP (CLIP + CLIP)"}  # there is no public code


OURS_ONLY = {"Shared-RIS (ViT in ViLT's manner)"}


def test_variants_are_the_keys_by_which_the_report_joins_its_published_rows() -> None:
    published = {}
    for table in ("IV", "V", "VI", "X"):
        rows = pd.read_csv(PUBLISHED / f"{table}.csv", keep_default_na=False)
        published |= {(table, index): variant for index, variant in enumerate(rows["variant"])}
    for table in ("IV", "V", "VI", "X"):
        for index, row in enumerate(SWEEPS["all"].tables[table]):
            config = tiny_default(0, None)
            for change in row.changes:
                config = change.apply(config)
            if row.label in OURS_ONLY:  # after the paper's rows, which keep their places
                assert config.model.variant not in published.values()
                assert (table, index) not in published
                continue
            assert not row.built or config.model.variant == published[table, index], row.label


def test_a_row_that_cannot_be_configured_is_named() -> None:
    sweep = Sweep(name="own", title="", tables={"own": (Row(label="stage 13", changes=(fpn(stages=(13,)),)),)})
    with pytest.raises(ValueError, match="own/stage 13: fpn.stages: stage 13 of an encoder with 12 layers"):
        cells_of(sweep, tiny_default, (0,))
    with pytest.raises(ValueError, match="model.fpn has no field depth"):
        Change(part="model.fpn", fields={"depth": 2}).apply(default_run())


def test_an_unknown_sweep_is_the_users_error() -> None:
    with pytest.raises(InputError, match="fpnn.*There are: fpn"):
        find_sweep("fpnn")
