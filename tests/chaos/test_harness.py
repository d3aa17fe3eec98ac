"""What `make test-chaos` counts with: the steps of a trace, the file of figures, the schedule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.chaos.measured import Outcome, Results, Struck
from tests.chaos.schedule import KINDS_OF_A_RUN, KINDS_OF_A_SWEEP, faults
from tests.chaos.trace import Trace


def test_a_restart_costs_the_steps_that_are_taken_again(tmp_path: Path) -> None:
    trace, path = Trace(tmp_path / "steps"), tmp_path / "steps"
    assert trace.read() == {}
    path.write_text("a 10 1\na 10 2\na 10 3\nb 20 1\na 11 2\na 1")
    assert trace.read() == {"a": 3, "b": 1}
    assert trace.take_lost() == (2,), "steps 2 and 3 of a"
    assert trace.take_lost() == ()
    with path.open("a") as stream:
        stream.write("1 3\na 12 4\nb 21 2\n")
    assert trace.take_lost() == (0, 0)
    assert trace.read() == {"a": 4, "b": 2}


def test_parts_of_several_tests_and_seeds_make_one_file(tmp_path: Path) -> None:
    def outcome(title: str) -> Outcome:
        struck = (
            Struck(kind="clock jump", step=4, seconds=1.0, lost=()),
            Struck(kind="x", step=8, seconds=3.0, lost=(2, 4)),
        )
        useful, quiet = (
            {"useful_seconds": 25.0, "wall_seconds": 100.0},
            {"quiet_useful_seconds": 40.0, "quiet_seconds": 50.0},
        )
        return Outcome(title=title, struck=struck, **useful, **quiet)

    path = tmp_path / "chaos.md"
    for seed, name in ((0, "sweep"), (1, "run"), (0, "run")):
        results = Results(path, faults=2, seed=seed)
        results.begin(name)
        for struck in outcome(name).struck:
            results.note(name, struck)
        results.keep(name, outcome(f"One {name}, seed {seed}"))
    text = path.read_text()
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# What faults cost", "## One run, seed 0", "## One run, seed 1", "## One sweep, seed 0"]
    assert "ratio 0.25 (25 s of training in 100 s); of the quiet run 0.80 (40 s in 50 s)" in text
    assert "| x | 1 | 3.0 | 3.0 | 2 | 3.0 | 4 |" in text
    assert "FAULTS=2 CHAOS_SEED=1`, its run" in text
    assert len((tmp_path / "chaos.parts/run-1.jsonl").read_text().splitlines()) == 2


def test_every_kind_strikes_several_times_in_two_hundred_faults() -> None:
    for kinds, count in ((KINDS_OF_A_RUN, 140), (KINDS_OF_A_SWEEP, 60)):
        struck = Counter(fault.kind for fault in faults(kinds, count, steps=4 * count, seed=3))
        assert set(struck) == set(kinds)
        assert min(struck.values()) >= 3
