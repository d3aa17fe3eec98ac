"""`sharedris sweep evaluate`: the trained cells of a sweep scored on more splits."""

from __future__ import annotations

from pipeline.cli.machine_output import add_result
from pipeline.cli.run_options import checked_execution
from sharedris.errors import InputError
from sweeps.cli.evaluate_options import Options
from sweeps.cli.planned import planned


def run(options: Options) -> int:
    """Add the splits that the records lack."""
    from sweeps.evaluate import evaluate_sweep

    if not options.splits:
        raise InputError("no split is named", "Write SET/SPLIT, for example refcocog_umd/val")
    if options.batch_size is not None and options.batch_size < 1:
        raise InputError(f"--batch-size {options.batch_size} is not a number above 0", "Give 1 or more")
    plan = planned(options)
    add_result(run_ids=[each.job.run_id for each in plan.in_state("done") if each.job is not None])
    return evaluate_sweep(
        plan,
        options.splits,
        checked_execution(options),
        batch_size=options.batch_size,
        wants_curves=options.threshold_curve,
    )
