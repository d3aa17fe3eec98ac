"""A config may grow: a new defaulted field changes no id, and another value of it does."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.config import RunConfig
from pipeline.identity import FIELDS_OF_VERSION_2, canonical
from pipeline.recipes import default_run
from sharedris.scales import SCALES


def part_at(config: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        config = getattr(config, name)
    return config


def with_part(config: Any, path: str, part: Any) -> Any:
    if not path:
        return part
    name, _, rest = path.partition(".")
    return dataclasses.replace(config, **{name: with_part(getattr(config, name), rest, part)})


def grown(part: Any, **newer: Any) -> Any:
    """The part as an instance of its class with one more defaulted field, `newer`."""
    bigger = dataclasses.make_dataclass(
        type(part).__name__,
        [("newer", int, dataclasses.field(default=3))],
        bases=(type(part),),
        frozen=True,
        kw_only=True,
    )
    return bigger(**{entry.name: getattr(part, entry.name) for entry in dataclasses.fields(part)}, **newer)


def ids(config: RunConfig) -> tuple[str, str, str]:
    return config.content_hash("data"), config.recipe("data"), config.run_id("data")


@pytest.mark.parametrize("path", FIELDS_OF_VERSION_2)
@pytest.mark.parametrize("scale", SCALES)
def test_a_new_field_with_its_default_changes_no_id(path: str, scale: str) -> None:
    config = default_run(scale=scale)
    part = part_at(config, path)
    assert ids(with_part(config, path, grown(part))) == ids(config)
    changed = with_part(config, path, grown(part, newer=4))
    assert changed.content_hash("data") != config.content_hash("data")
    assert with_part(config, path, grown(part, newer=5)).content_hash("data") != changed.content_hash("data")


def test_a_new_part_with_its_defaults_changes_no_id() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class NewPart:
        width: int = 7

    config = default_run()
    for part, same in ((NewPart(), True), (NewPart(width=8), False)):
        bigger = dataclasses.make_dataclass(
            "RunConfig",
            [("extra", NewPart, dataclasses.field(default=part))],
            bases=(RunConfig,),
            frozen=True,
            kw_only=True,
        )
        grown_config = bigger(**{entry.name: getattr(config, entry.name) for entry in dataclasses.fields(config)})
        assert (ids(grown_config)[0] == ids(config)[0]) == same


def test_every_field_of_version_2_is_part_of_the_hash() -> None:
    """Records of the first version were hashed so."""
    values = canonical(default_run())
    for path, names in FIELDS_OF_VERSION_2.items():
        part = values
        for name in filter(None, path.split(".")):
            part = part[name]
        assert set(names.split()) <= set(part), path


def test_a_field_without_a_default_is_always_part_of_the_hash() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Part:
        needed: int

    assert canonical(Part(needed=1)) == {"needed": 1}
