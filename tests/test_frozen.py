"""What a refactoring must not change: identities, schemas, texts, prepared data, and weights to the bit.

`python -m tests.frozen` writes the stored files anew after a change that was meant; see `tests/frozen.py`.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests import frozen, frozen_training


def assert_stored(name: str, got: str) -> None:
    """Compare a text with its stored file; show the first lines that differ."""
    changed = frozen_training.difference((frozen_training.GOLDEN / name).read_text(encoding="utf-8"), got)
    assert not changed, "\n".join([f"{name} differs (if meant: python -m tests.frozen {name})", *changed])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two synthetic sets, prepared."""
    return frozen.prepare_sets(tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="module")
def tables() -> dict[str, str]:
    """Table VII (a) in every format."""
    return frozen.table_texts()


def test_identities_of_every_cell_are_the_same() -> None:
    assert_stored("identities.json", frozen.identities())


def test_schemas_are_the_same() -> None:
    assert_stored("schemas.txt", frozen.schemas())


@pytest.mark.parametrize("name", [*(f"VII-a.{suffix}" for suffix in frozen.TABLE_SUFFIXES), "VII-a-beside.md"])
def test_table_seven_a_is_the_same(name: str, tables: dict[str, str]) -> None:
    assert_stored(name, tables[name])


def test_help_is_the_same() -> None:
    assert_stored("help.txt", frozen.help_texts())


def test_prepared_data_is_the_same(prepared: Path) -> None:
    assert_stored("data.json", frozen.prepared_data(prepared))


@pytest.mark.parametrize("name", frozen_training.TRAININGS)
def test_training_is_the_same(name: str, prepared: Path, tmp_path: Path) -> None:
    stored, machine = frozen_training.stored_training(), frozen_training.machine_key()
    got = frozen_training.train(name, prepared, tmp_path)
    changed = frozen_training.training_differences(name, stored, got, machine)
    known = "to the bit" if machine in stored["machines"] else "by loss and score, this CPU is not stored"
    assert not changed, "\n".join([f"{name} differs, compared {known}: {machine}", *changed])


def test_an_unknown_machine_is_still_compared() -> None:
    stored = frozen_training.stored_training()
    got = {**copy.deepcopy(stored["trainings"]["default"]), "bits": {}}
    assert frozen_training.training_differences("default", stored, got, "unknown") == []
    got["losses"][0] *= 1.01
    got["scores"] = {split: [score + 0.05 for score in pair] for split, pair in got["scores"].items()}
    got["facts"]["steps"] = [9]
    words = "\n".join(frozen_training.training_differences("default", stored, got, "unknown"))
    for word in ("loss", "oIoU", "+  9"):
        assert word in words
