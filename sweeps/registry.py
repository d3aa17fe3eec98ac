"""Name -> sweep: what `make sweep-NAME` runs. A new ablation is a file like `fpn.py` and a line here."""

from __future__ import annotations

from sharedris.errors import InputError
from sweeps import compared, components, decoder, fpn, fusion
from sweeps.spec import Row, Sweep

_GROUPS = (fpn.SWEEP, decoder.SWEEP, fusion.SWEEP, components.SWEEP, compared.SWEEP)


def _all() -> Sweep:
    tables: dict[str, tuple[Row, ...]] = {}
    for group in _GROUPS:
        tables.update(group.tables)
    return Sweep(name="all", title="every table above, shared cells once", tables=tables)


SWEEPS: dict[str, Sweep] = {sweep.name: sweep for sweep in (*_GROUPS, _all())}


def find_sweep(name: str) -> Sweep:
    """Return the sweep of that name.

    Raises:
        InputError: when there is none; lists those there are.
    """
    if name not in SWEEPS:
        raise InputError(f"no sweep {name!r}", f"There are: {', '.join(SWEEPS)} (python -m sweeps list)")
    return SWEEPS[name]
