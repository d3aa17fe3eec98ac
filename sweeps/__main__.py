"""`python -m sweeps list | plan | run | status | evaluate | stop | costs`: the command behind `make sweep-NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.cli.guarded import run_guarded
from pipeline.cli.plugin_option import add_plugin_argument, plugins_named_in
from pipeline.cli.run_options import (
    add_curve_argument,
    add_execution_arguments,
    add_run_arguments,
    execution_config,
    fitted,
    positive_int,
    run_config,
)
from pipeline.cluster.capacity import check_workers_fit
from pipeline.config import RunConfig
from pipeline.files import require_writable
from pipeline.monitoring.console_log import add_verbosity_arguments, level_of, log_to_console
from pipeline.object_store.address import runs_folder
from pipeline.object_store.layout import SMALL
from pipeline.object_store.opened import SCORES, opened_runs
from pipeline.plugin_changes import warn_of_changed_plugins
from pipeline.preflight import check_runs
from sharedris.plugins import load_plugins
from sweeps.plan import SweepPlan, open_marker, plan_sweep
from sweeps.registry import SWEEPS, find_sweep
from sweeps.spec import Sweep, cells_of
from sweeps.status import describe, forget, stop

_COMMANDS = {
    "plan": "show cells, steps, hours, money and disk, and start nothing",
    "run": "run the cells that have no record",
    "status": "show the state of every cell, read only from files",
    "evaluate": "score the runs of a sweep that are trained on more splits, and train nothing",
    "stop": "ask the driver of a running sweep to end; the same run command resumes it",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m sweeps", description="Plan and run the paper's ablations.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="list every sweep", description="List every sweep.")
    add_plugin_argument(listing)
    add_verbosity_arguments(listing)
    help_text = "measure every model of a sweep at the paper's scale, for the tables"
    costs = commands.add_parser("costs", help=help_text, description=_sentence(help_text))
    costs.add_argument("name", metavar="SWEEP", nargs="?", default="all", help="default: %(default)s")
    costs.add_argument("--runs", type=runs_folder, default=Path("runs"), help="root of the runs (default: %(default)s)")
    add_plugin_argument(costs)
    add_verbosity_arguments(costs)
    for name, help_text in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=_sentence(help_text))
        command.add_argument("name", metavar="SWEEP", help=f"one of {', '.join(SWEEPS)}")
        if name == "evaluate":
            command.add_argument("splits", metavar="SPLIT", nargs="+", help="splits with their set: refcocog_umd/val")
            command.add_argument("--batch-size", type=positive_int, help="samples a forward (default: that of the run)")
            add_curve_argument(command)
        command.add_argument(
            "--seeds", type=positive_int, default=1, help="number of seeds: 0 .. N-1 (default: %(default)s)"
        )
        add_run_arguments(command)
        add_execution_arguments(command)
        if name == "run":
            command.add_argument(
                "--experiment",
                metavar="NAME",
                help="MLflow experiment (default: sweep-SWEEP; Databricks wants a path: /Users/me@lab.org/fpn)",
            )
            command.add_argument("--force", metavar="CELL", help="remove the record of this cell and train it again")
            command.add_argument(
                "--register-model",
                metavar="NAME",
                type=_model_name,
                help="at the end, register the best cell's model (oIoU of its first split) in MLflow as NAME@best",
            )
        if name == "plan":
            _add_cost_arguments(command)
        add_plugin_argument(command)
        add_verbosity_arguments(command)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 3 a cell failed, and the codes of `pipeline.cli.guarded`.
    """
    return run_guarded(lambda: _start(sys.argv[1:] if arguments is None else arguments), name="python -m sweeps")


def _start(arguments: list[str]) -> int:
    load_plugins(plugins_named_in(arguments))
    return _dispatch(build_parser().parse_args(arguments))


def _model_name(text: str) -> str:
    """Return a name that MLflow's registry accepts."""
    if not text.strip() or any(letter in text for letter in "/:'"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: it must not be empty or contain / : '")
    return text


def positive_points(text: str) -> float:
    """Return a positive number of points.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 100.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of points above 0 and up to 100")
    return value


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _add_cost_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--gflops", type=float, help="sustained rate of one worker in GFLOP/s (default: measured)")
    command.add_argument("--price", type=float, help="money per worker-hour, in any currency")
    command.add_argument(
        "--difference", type=positive_points, default=1.0, help="wished difference in points of mIoU: what it needs"
    )
    command.add_argument(
        "--training-deviation", type=positive_points, help="points between trainings (default: measured, or assumed)"
    )
    command.add_argument("--paper-gflops", type=float, help="GFLOP/s of one of the paper's 8 GPUs, to estimate hours")


def _dispatch(args: argparse.Namespace) -> int:
    handlers: dict[str, Callable[[argparse.Namespace, SweepPlan], int]] = {
        "plan": _show_plan,
        "run": _run,
        "status": _show_status,
        "evaluate": _evaluate,
        "stop": _stop,
    }
    kinds = SCORES if args.command == "plan" else SMALL  # `plan` measures how trainings vary
    with log_to_console(level_of(args)), opened_runs(getattr(args, "runs", None), kinds):
        if args.command == "list":
            return _list_sweeps()
        if args.command == "costs":
            return _measure_costs(args)
        return handlers[args.command](args, _plan(args, tolerant=args.command != "run"))


def _list_sweeps() -> int:
    for sweep in SWEEPS.values():
        rows = sum(len(rows) for rows in sweep.tables.values())
        print(f"{sweep.name:<12} {sweep.title} ({rows} rows)")
    return 0


def _measure_costs(args: argparse.Namespace) -> int:
    from sweeps.costs import write_paper_costs

    require_writable(args.runs, "--runs (make: RUNS=)")
    measured = write_paper_costs(find_sweep(args.name), args.runs)
    print(f"{measured} models measured; costs of {args.name} are below {args.runs / 'costs'}")
    return 0


def _plan(args: argparse.Namespace, provenance: dict[str, Any] | None = None, *, tolerant: bool = False) -> SweepPlan:
    def make_default(seed: int, scale: str | None) -> RunConfig:
        of_row = argparse.Namespace(**{**vars(args), "model": scale or args.model})
        return run_config(of_row, seed=seed)

    sweep = find_sweep(args.name)
    return plan_sweep(
        sweep,
        make_default,
        fitted(args, execution_config(args), _models_of(sweep, make_default)),
        seeds=range(args.seeds),
        provenance=provenance,
        tolerant=tolerant,
    )


def _models_of(sweep: Sweep, make_default: Callable[[int, str | None], RunConfig]) -> Iterator[RunConfig]:
    """Yield one run of each model of a sweep; read only where a batch has to be fitted."""
    seen = set()
    for cell in cells_of(sweep, make_default, (0,)):
        if cell.config is not None and cell.config.model not in seen:
            seen.add(cell.config.model)
            yield cell.config


def _show_status(args: argparse.Namespace, plan: SweepPlan) -> int:
    print(describe(plan))
    return 0


def _stop(args: argparse.Namespace, plan: SweepPlan) -> int:
    print(stop(plan))
    return 0


def _evaluate(args: argparse.Namespace, plan: SweepPlan) -> int:
    from sweeps.evaluate import evaluate_sweep

    execution = execution_config(args)
    return evaluate_sweep(plan, args.splits, execution, batch_size=args.batch_size, wants_curves=args.threshold_curve)


def _show_plan(args: argparse.Namespace, plan: SweepPlan) -> int:
    from sweeps.cost_report import cost_report
    from sweeps.power import power_report

    print(describe(plan))
    power = power_report(plan, args.prepared, points=args.difference, training_points=args.training_deviation)
    print(power)
    print(cost_report(plan, args.prepared, gflops=args.gflops, price=args.price, paper_gflops=args.paper_gflops))
    return 0


def _run(args: argparse.Namespace, plan: SweepPlan) -> int:
    if args.force:
        print(f"removed the records of {', '.join(forget(plan, args.force))}")
    print(describe(plan), flush=True)
    warn_of_changed_plugins(planned.job for planned in plan.in_state("done") if planned.job is not None)
    if not plan.in_state("missing") and not open_marker(plan).exists() and args.register_model is None:
        print(f"all {len(plan.in_state('done'))} built cells are done; nothing to run")
        return 0
    check_workers_fit(execution_config(args))
    require_writable(args.runs, "--runs (make: RUNS=)")
    # Imported here, since these take seconds.
    from pipeline.failures import RunError
    from pipeline.provenance import collect
    from sweeps.costs import write_paper_costs
    from sweeps.live_table import live_table
    from sweeps.run import SOME_FAILED, run_sweep

    plan = _plan(args, collect())
    check_runs((planned.job.config for planned in plan.in_state("missing") if planned.job is not None), plan.runs_root)
    write_paper_costs(plan.sweep, plan.runs_root)
    try:
        with live_table(plan):
            experiment = args.experiment or f"sweep-{plan.sweep.name}"
            return run_sweep(plan, experiment=experiment, register_model=args.register_model)
    except RunError as error:  # of a cell it is in the cell's files; this one is of Ray itself
        print(f"python -m sweeps: {error}", file=sys.stderr)
        return SOME_FAILED


if __name__ == "__main__":
    sys.exit(main())
