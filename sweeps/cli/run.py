"""`sharedris sweep run`: the cells that have no record, trained on Ray Tune; the same command resumes."""

from __future__ import annotations

import sys

from pipeline.cli.machine_output import print_json
from pipeline.cli.run_options import checked_execution
from pipeline.cluster.capacity import check_workers_fit
from pipeline.files import require_writable
from pipeline.plugin_changes import warn_of_changed_plugins
from pipeline.preflight import check_runs
from sharedris.errors import InputError
from sweeps.cli.planned import planned
from sweeps.cli.run_options import Options
from sweeps.plan import open_marker
from sweeps.status import describe, forget, states


def run(options: Options) -> int:
    """Train what has no record; 3 where a cell failed."""
    code = _run(options)
    if options.json:
        print_json(states(planned(options)))
    return code


def _run(options: Options) -> int:
    _check_model_name(options.register_model)
    plan = planned(options, tolerant=False)
    if options.force:
        print(f"removed the records of {', '.join(forget(plan, options.force))}")
    print(describe(plan), flush=True)
    warn_of_changed_plugins(each.job for each in plan.in_state("done") if each.job is not None)
    if not plan.in_state("missing") and not open_marker(plan).exists() and options.register_model is None:
        print(f"all {len(plan.in_state('done'))} built cells are done; nothing to run")
        return 0
    check_workers_fit(checked_execution(options))
    require_writable(plan.runs_root, "--runs (make: RUNS=)")
    # Imported here, since these take seconds.
    from pipeline.failures import RunError
    from pipeline.provenance import collect
    from sweeps.costs import write_paper_costs
    from sweeps.live_table import live_table
    from sweeps.run import SOME_FAILED, run_sweep

    plan = planned(options, collect(), tolerant=False)
    check_runs((each.job.config for each in plan.in_state("missing") if each.job is not None), plan.runs_root)
    write_paper_costs(plan.sweep, plan.runs_root)
    try:
        with live_table(plan):
            experiment = options.experiment or f"sweep-{plan.sweep.name}"
            return run_sweep(plan, experiment=experiment, register_model=options.register_model)
    except RunError as error:  # of a cell it is in the cell's files; this one is of Ray itself
        print(f"sharedris sweep run: {error}", file=sys.stderr)
        return SOME_FAILED


def _check_model_name(name: str | None) -> None:
    """Refuse a name that MLflow's registry would refuse after the training."""
    if name is not None and (not name.strip() or any(letter in name for letter in "/:'")):
        raise InputError(f"--register-model {name!r} is not a name", "It must not be empty or contain / : '")
