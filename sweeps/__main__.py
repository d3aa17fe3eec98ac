"""`python -m sweeps list | plan NAME | run NAME | status NAME`: the command behind `make sweep-NAME`."""

from __future__ import annotations

import argparse
import sys

from pipeline.cli.main import run_guarded
from pipeline.cli.run_options import add_execution_arguments, add_run_arguments, execution_config, run_config
from pipeline.config import RunConfig
from pipeline.machine import check_workers_fit
from sweeps.plan import SweepPlan, make_plan, open_note
from sweeps.registry import SWEEPS, find_sweep


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 2 bad input, 3 a cell failed, 130 Ctrl-C, 143 SIGTERM.
    """
    parser = argparse.ArgumentParser(prog="python -m sweeps", description="Plan and run the paper's ablations.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name every sweep")
    for name, help_text in (
        ("plan", "show cells and their states, start nothing"),
        ("run", "run what is missing"),
        ("status", "show the state of every cell, from files alone"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("name", help=f"one of {', '.join(SWEEPS)}")
        command.add_argument("--seeds", type=int, default=1, help="how many seeds: 0 .. N-1 (default: %(default)s)")
        add_run_arguments(command)
        add_execution_arguments(command)
    args = parser.parse_args(arguments)
    return run_guarded(lambda: _dispatch(args), name="python -m sweeps")


def _dispatch(args: argparse.Namespace) -> int:
    if args.command == "list":
        for sweep in SWEEPS.values():
            rows = sum(len(rows) for rows in sweep.tables.values())
            print(f"{sweep.name:<12} {sweep.title} ({rows} rows)")
        return 0
    plan = _plan(args)
    if args.command == "run":
        return _run(args, plan)
    print(describe(plan))
    return 0


def _plan(args: argparse.Namespace, provenance: dict[str, object] | None = None) -> SweepPlan:
    def make_default(seed: int, scale: str | None) -> RunConfig:
        own = argparse.Namespace(**{**vars(args), "model": scale or args.model})
        return run_config(own, seed=seed)

    execution = execution_config(args)
    return make_plan(find_sweep(args.name), make_default, execution, seeds=range(args.seeds), provenance=provenance)


def describe(plan: SweepPlan) -> str:
    """Return the states of all cells in lines."""
    lines = [f"{plan.sweep.title}: {plan.rows} rows, {len(plan.cells)} distinct cells"]
    for planned in plan.cells:
        also = f"   also {', '.join(planned.cell.names[1:])}" if planned.cell.names[1:] else ""
        lines.append(f"  {planned.state:<10} {planned.cell.label}{also}")
    return "\n".join(lines)


def _experiment(plan: SweepPlan) -> str:
    return f"sweep-{plan.sweep.name}"


def _run(args: argparse.Namespace, plan: SweepPlan) -> int:
    missing = plan.in_state("missing")
    print(describe(plan), flush=True)
    if not missing and not open_note(plan).exists():
        print(f"all {len(plan.in_state('done'))} cells are done; nothing to run")
        return 0
    check_workers_fit(execution_config(args))
    # Only now what takes seconds to import.
    from pipeline.provenance import collect
    from sweeps.costs import write_paper_costs
    from sweeps.run import TerminatedError, run_sweep

    plan = _plan(args, collect())
    write_paper_costs(plan, execution_config(args))
    try:
        return run_sweep(plan, experiment=_experiment(plan), say=_say)
    except TerminatedError:
        print("python -m sweeps: terminated; the same command goes on from here", file=sys.stderr)
        return 143


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.exit(code)
