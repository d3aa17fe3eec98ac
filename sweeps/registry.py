"""Name -> sweep: what `make sweep-NAME` runs. To add an ablation, add a file like `fpn.py` and a line here."""

from __future__ import annotations

import runpy
import traceback
from pathlib import Path

from sharedris.errors import InputError
from sweeps import backbones, compared, components, datasets, decoder, fpn, framework, fusion, no_target
from sweeps.spec import Row, Sweep

_ABLATIONS = (fpn.SWEEP, decoder.SWEEP, fusion.SWEEP, components.SWEEP, compared.SWEEP)
_OTHERS = (backbones.SWEEP, framework.SWEEP, datasets.SWEEP, datasets.TOY_SWEEP, no_target.SWEEP)


def _together(name: str, title: str, groups: tuple[Sweep, ...]) -> Sweep:
    """Return one sweep with the tables of several; cells that they share are trained once."""
    tables: dict[str, tuple[Row, ...]] = {}
    for group in groups:
        tables.update(group.tables)
    return Sweep(name=name, title=title, tables=tables)


_TOGETHER = (
    _together("ablations", "tables III, IV, V, VII and VIII: section IV-D", _ABLATIONS),
    _together("all", "tables III to VIII and X, shared cells once", (*_ABLATIONS, backbones.SWEEP, framework.SWEEP)),
)
SWEEPS: dict[str, Sweep] = {sweep.name: sweep for sweep in (*_ABLATIONS, *_OTHERS, *_TOGETHER)}


def find_sweep(name: str) -> Sweep:
    """Return the sweep of that name, or the `SWEEP` of the user's Python file.

    Raises:
        InputError: when there is none; lists the known names.
    """
    if name.endswith(".py"):
        return _from_file(Path(name))
    if name not in SWEEPS:
        raise InputError(f"no sweep {name!r}", f"There are: {', '.join(SWEEPS)} (sharedris sweep list)")
    return SWEEPS[name]


def _from_file(path: Path) -> Sweep:
    """Run the user's Python file and return the sweep that it defines."""
    if not path.is_file():
        raise InputError(f"{path} does not exist", "docs/sweeps.md shows how to write one")
    try:
        sweep = runpy.run_path(str(path)).get("SWEEP")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(f"{path}, line {where.lineno}: {type(error).__name__}: {error}", "Correct the file") from None
    if not isinstance(sweep, Sweep):
        raise InputError(f"{path} defines no SWEEP", "docs/sweeps.md shows how to write one")
    return sweep
