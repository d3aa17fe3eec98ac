"""`sharedris train`: one run, from prepared data to its record."""

from __future__ import annotations

import argparse
import sys

from pipeline.cli.run_options import add_execution_arguments, add_run_arguments, execution_config, run_config
from pipeline.config import ExecutionConfig
from pipeline.job import Job, make_job

RUN_FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run."""
    add_run_arguments(parser)
    add_execution_arguments(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ray", action="store_true", help="use Ray Train for one worker too")
    parser.add_argument("--plan", action="store_true", help="print what would be done and start nothing")
    parser.add_argument(
        "--gflops", type=float, help="with --plan: sustained rate of one worker in GFLOP/s, for the hours"
    )


def run(args: argparse.Namespace) -> int:
    """Run, resume, or show the plan."""
    config, execution = run_config(args, seed=args.seed), execution_config(args)
    if args.plan:
        job = make_job(config, execution)
        from pipeline.plan import describe_plan

        print(describe_plan(job, worker_gflops=args.gflops))
        return 0
    from pipeline.provenance import collect

    job = make_job(config, execution, cells=("train",), provenance=collect())
    if job.done:
        print(f"{job.run_id} is done already: its record is in {job.runs_root / 'records'}")
        return 0
    return _train(job, execution, use_ray=args.ray or execution.workers > 1)


def _train(job: Job, execution: ExecutionConfig, *, use_ray: bool) -> int:
    from pipeline import launch
    from pipeline.lease import driver_lease
    from pipeline.watch import Watcher
    from pipeline.worker import RunError, clear_failure

    with driver_lease(job.state_folder):
        clear_failure(job)
        watcher = Watcher([job], labels={job.run_id: job.config.model.scale}, say=print)
        watcher.start()
        try:
            if use_ray:
                with launch.ray_cluster(cpus=None):
                    launch.capacity(execution)
                    launch.check_shared_storage(job.runs_root)
                    launch.fit(job)
            else:
                launch.run_in_process(job)
        except RunError as error:
            watcher.finish()
            print(f"sharedris train: {job.run_id} failed: {error}", file=sys.stderr)
            return RUN_FAILED
        watcher.finish()
    print(f"record: {job.runs_root / 'records' / job.run_id}.parquet\nmodel:  {job.model_folder}")
    return 0
