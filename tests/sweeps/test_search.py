"""Grids and draws over any field, and the example of docs/sweeps.md."""

import doctest
import re
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.config import RunConfig
from pipeline.recipes import default_run
from sharedris.errors import InputError
from sweeps import search, spec
from sweeps.registry import find_sweep
from sweeps.search import draws, grid
from sweeps.spec import Row, Sweep, cells_of

DOCS = Path(__file__).resolve().parents[2] / "docs" / "sweeps.md"


def default(seed: int, scale: str | None) -> RunConfig:
    return default_run(scale=scale or "tiny", seed=seed)


def configs(rows: tuple[Row, ...]) -> list[RunConfig]:
    cells = cells_of(Sweep(name="s", title="", tables={"t": rows}), default, (0,))
    return [cell.config for cell in cells if cell.config is not None]


@pytest.mark.parametrize("module", [spec, search], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings_run(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_a_grid_is_every_combination() -> None:
    rows = grid({"optim.learning_rate": (1e-4, 1e-3), "model.fpn": ({"stages": (6, 12)}, {"stages": (4, 8, 12)})})
    found = {(config.optim.learning_rate, config.model.fpn.stages) for config in configs(rows)}
    assert found == {(rate, stages) for rate in (1e-4, 1e-3) for stages in ((6, 12), (4, 8, 12))}
    assert rows[0].label == "learning_rate=0.0001, fpn={stages=(6, 12)}"


def test_draws_follow_their_seed() -> None:
    space = {"optim.learning_rate": lambda rng: 10 ** rng.uniform(-4, -2)}
    first, again, other = (draws(space, count=5, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    rates = [config.optim.learning_rate for config in configs(first)]
    assert len(set(rates)) == 5
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)


def test_a_field_without_a_part_or_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="seed: name a field of a part"):
        grid({"seed": (1, 2)})
    with pytest.raises(ValueError, match="optim has no field rate"):
        configs(grid({"optim.rate": (1,)}))


def test_the_example_of_the_docs_is_a_sweep_of_nine_cells(tmp_path: Path) -> None:
    example = re.search(r"<!-- test: my_sweep.py -->\n```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example is not None
    assert len(example[1].strip().splitlines()) <= 10
    path = tmp_path / "my_sweep.py"
    path.write_text(example[1])
    sweep = find_sweep(str(path))
    cells = cells_of(sweep, default, (0,))
    # "as it is" and the grid's (1e-3, 1.0) are the default recipe: one cell.
    assert sum(len(cell.names) for cell in cells) == 9
    assert len(cells) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = 1", "defines no SWEEP"), ("1 / 0", "line 1: ZeroDivisionError"), (None, "does not exist")],
)
def test_a_broken_file_is_the_users_error(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "broken.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        find_sweep(str(path))
