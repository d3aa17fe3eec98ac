"""What a sweep is: rows of a paper's table, each a label and a change of the default configuration.

    >>> two_stages = Row(label="{6, 12}", changes=(fpn(stages=(6, 12)),))
    >>> sweep = Sweep(name="mine", title="stages of the FPN", tables={"stages": (Row(label="as it is"), two_stages)})
    >>> [row.label for row in sweep.tables["stages"]]
    ['as it is', '{6, 12}']

A row whose module does not exist is declared too: it is listed as "not built" and never dropped.
"""

from __future__ import annotations

import dataclasses
import operator
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import RunConfig, replace_at
from pipeline.files import safe_component
from sharedris.config_values import checked_value

_PAPER_LAYERS = 12


@dataclass(frozen=True, kw_only=True)
class Change:
    """New values for fields of one part of a RunConfig, set together: a half-changed part may not be valid.

    Attributes:
        part: dotted path of a config dataclass (`model.fpn`).
        fields: field name -> value; `stages` are those of a 12-layer encoder and scale with the layers.
    """

    part: str
    fields: Mapping[str, Any]

    def apply(self, config: RunConfig) -> RunConfig:
        """Return the changed config.

        Raises:
            ValueError: for an unknown field or a value that is refused; the message names it.
        """
        current = operator.attrgetter(self.part)(config)
        unknown = sorted(set(self.fields) - {entry.name for entry in dataclasses.fields(current)})
        if unknown:
            raise ValueError(f"{self.part} has no field {', '.join(unknown)}")
        values = dict(self.fields)
        if "stages" in values:
            factor = config.model.encoder.layers // _PAPER_LAYERS
            values["stages"] = tuple(stage * max(1, factor) for stage in values["stages"])
        hints = typing.get_type_hints(type(current))
        values = {name: checked_value(hints[name], value, f"{self.part}.{name}") for name, value in values.items()}
        changed: RunConfig = replace_at(config, self.part, dataclasses.replace(current, **values))
        return changed


def fpn(**fields: Any) -> Change:
    """Change the FPN (equations 6 and 7)."""
    return Change(part="model.fpn", fields=fields)


def decoder(**fields: Any) -> Change:
    """Change the mask decoder (equations 8 to 11)."""
    return Change(part="model.decoder", fields=fields)


def system(**fields: Any) -> Change:
    """Use another paper's full system (tables VI and X)."""
    return Change(part="model.system", fields=fields)


def no_target(**fields: Any) -> Change:
    """Change what is done about sentences that name nothing in the image (not of the paper)."""
    return Change(part="model.no_target", fields=fields)


NO_FPN = fpn(kind="none", stages=())
NO_FUSION = decoder(kind="none", layers=0)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a paper table.

    Attributes:
        label: as the paper prints it.
        changes: what it changes of the default configuration.
        built: False while the module that it needs does not exist.
        scale: `base` or `large` where the paper names one for this row; None takes the sweep's.
    """

    label: str
    changes: tuple[Change, ...] = ()
    built: bool = True
    scale: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The rows of one or more tables that are run by one command.

    Attributes:
        name: as in `make sweep-NAME`.
        tables: table of the paper -> its rows.
        title: one line for `list`.
    """

    name: str
    title: str
    tables: Mapping[str, tuple[Row, ...]]

    def __post_init__(self) -> None:
        """Refuse a name that is not one component of a path: it names a folder of the runs."""
        safe_component(self.name, "sweep")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row with one seed: a labelled configuration.

    Attributes:
        names: every `TABLE/LABEL` that this configuration serves.
        config: None where the row is not built.
    """

    names: tuple[str, ...]
    seed: int
    config: RunConfig | None

    @property
    def label(self) -> str:
        """Name in log lines and MLflow: the first row it serves, with the seed where it is not 0."""
        return self.names[0] + (f" s{self.seed}" if self.seed else "")


def cells_of(
    sweep: Sweep, make_default: Callable[[int, str | None], RunConfig], seeds: range | tuple[int, ...]
) -> list[Cell]:
    """Return the distinct cells of a sweep: rows of several tables with the same configuration are one cell.

    Args:
        make_default: (seed, the row's own scale or None) -> the default configuration.
        seeds: each row is run once with each.

    Raises:
        ValueError: when a row cannot be applied; names the row.
    """
    merged: dict[tuple[int, Any], list[str]] = {}
    for seed in seeds:
        for table, rows in sweep.tables.items():
            for row in rows:
                config = _configure(row, make_default(seed, row.scale), f"{table}/{row.label}")
                # Rows that are not built have no configuration that could tell them apart.
                key = (seed, config if config is not None else f"{table}/{row.label}")
                merged.setdefault(key, []).append(f"{table}/{row.label}")
    return [
        Cell(names=tuple(names), seed=seed, config=key if isinstance(key, RunConfig) else None)
        for (seed, key), names in merged.items()
    ]


def _configure(row: Row, config: RunConfig, name: str) -> RunConfig | None:
    if not row.built:
        return None
    try:
        for change in row.changes:
            config = change.apply(config)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return config
