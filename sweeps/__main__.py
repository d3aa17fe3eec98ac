"""`python -m sweeps list | plan | run | status | stop | costs`: the command behind `make sweep-NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.cli.main import run_guarded
from pipeline.cli.run_options import add_execution_arguments, add_run_arguments, execution_config, run_config
from pipeline.cluster.capacity import check_workers_fit
from pipeline.config import RunConfig
from pipeline.files import runs_folder
from pipeline.lifecycle.signals import TerminatedError
from pipeline.monitoring.console_log import add_verbosity_arguments, level_of, log_to_console
from sweeps.plan import SweepPlan, make_plan, open_marker
from sweeps.registry import SWEEPS, find_sweep
from sweeps.status import describe, forget, stop

TERMINATED = 143
_COMMANDS = {
    "plan": "show cells, steps, hours, money and disk; start nothing",
    "run": "run what is missing",
    "status": "show the state of every cell, from files alone",
    "stop": "ask the driver of a running sweep to end; the same run goes on later",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m sweeps", description="Plan and run the paper's ablations.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="name every sweep")
    costs = commands.add_parser("costs", help="measure every model of a sweep at the paper's scale, for the tables")
    costs.add_argument("name", metavar="SWEEP", nargs="?", default="all")
    costs.add_argument("--runs", type=runs_folder, default=Path("runs"), help="root of the runs (default: %(default)s)")
    for name, help_text in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".")
        command.add_argument("name", metavar="SWEEP", help=f"one of {', '.join(SWEEPS)}")
        command.add_argument("--seeds", type=int, default=1, help="how many seeds: 0 .. N-1 (default: %(default)s)")
        add_run_arguments(command)
        add_execution_arguments(command)
        if name == "run":
            command.add_argument("--force", metavar="CELL", help="forget the record of this cell and train it again")
        if name == "plan":
            _add_price_arguments(command)
        add_verbosity_arguments(command)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 2 bad input, 3 a cell failed, 130 Ctrl-C, 143 SIGTERM.
    """
    args = build_parser().parse_args(arguments)
    return run_guarded(lambda: _dispatch(args), name="python -m sweeps")


def _add_price_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--gflops", type=float, help="sustained rate of one worker in GFLOP/s; default: measured here")
    command.add_argument("--price", type=float, help="money per worker-hour, in any currency")
    command.add_argument("--paper-gflops", type=float, help="rate of one GPU of the paper's 8, for the paper's scale")


def _dispatch(args: argparse.Namespace) -> int:
    if args.command == "list":
        for sweep in SWEEPS.values():
            rows = sum(len(rows) for rows in sweep.tables.values())
            print(f"{sweep.name:<12} {sweep.title} ({rows} rows)")
        return 0
    if args.command == "costs":
        return _measure_costs(args)
    handlers: dict[str, Callable[[argparse.Namespace, SweepPlan], int]] = {
        "plan": _show_plan,
        "run": _run,
        "status": _show_status,
        "stop": _stop,
    }
    with log_to_console(level_of(args)):
        return handlers[args.command](args, _plan(args, tolerant=args.command != "run"))


def _measure_costs(args: argparse.Namespace) -> int:
    from sweeps.costs import write_paper_costs

    measured = write_paper_costs(find_sweep(args.name), args.runs)
    print(f"{measured} models measured; costs of {args.name} are below {args.runs / 'costs'}")
    return 0


def _plan(args: argparse.Namespace, provenance: dict[str, Any] | None = None, *, tolerant: bool = False) -> SweepPlan:
    def make_default(seed: int, scale: str | None) -> RunConfig:
        own = argparse.Namespace(**{**vars(args), "model": scale or args.model})
        return run_config(own, seed=seed)

    return make_plan(
        find_sweep(args.name),
        make_default,
        execution_config(args),
        seeds=range(args.seeds),
        provenance=provenance,
        tolerant=tolerant,
    )


def _show_status(args: argparse.Namespace, plan: SweepPlan) -> int:
    print(describe(plan))
    return 0


def _stop(args: argparse.Namespace, plan: SweepPlan) -> int:
    print(stop(plan))
    return 0


def _show_plan(args: argparse.Namespace, plan: SweepPlan) -> int:
    from sweeps.cost_report import bill

    print(describe(plan))
    print(bill(plan, args.prepared, gflops=args.gflops, price=args.price, paper_gflops=args.paper_gflops))
    return 0


def _run(args: argparse.Namespace, plan: SweepPlan) -> int:
    if args.force:
        print(f"forgot {', '.join(forget(plan, args.force))}")
    print(describe(plan), flush=True)
    if not plan.in_state("missing") and not open_marker(plan).exists():
        print(f"all {len(plan.in_state('done'))} cells that are built are done; nothing to run")
        return 0
    check_workers_fit(execution_config(args))
    # Only now what takes seconds to import.
    from pipeline.provenance import collect
    from sweeps.costs import write_paper_costs
    from sweeps.live_table import live_table
    from sweeps.run import run_sweep

    plan = _plan(args, collect())
    write_paper_costs(plan.sweep, plan.runs_root)
    try:
        with live_table(plan):
            return run_sweep(plan, experiment=f"sweep-{plan.sweep.name}")
    except TerminatedError:
        print("python -m sweeps: terminated; the same command goes on from here", file=sys.stderr)
        return TERMINATED


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.exit(code)
