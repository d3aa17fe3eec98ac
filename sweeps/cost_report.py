"""The cost of a sweep as text: of its missing cells here, and of all cells at the paper's scale."""

from __future__ import annotations

from pipeline.monitoring.durations import format_seconds
from sweeps.cost_estimate import PAPER_GPUS, CellCost, cell_cost_of, measure_gflops, paper_cost, roofline_gflops, total
from sweeps.plan import SweepPlan


def cost_report(
    plan: SweepPlan,
    prepared_root: str,
    *,
    gflops: float | None = None,
    price: float | None = None,
    paper_gflops: float | None = None,
    paper_gpu: str | None = None,
) -> str:
    """Return the costs in lines; without a given rate some seconds of training steps measure this machine's.

    Args:
        gflops: sustained rate of one worker in GFLOP/s.
        price: money per worker-hour.
        paper_gflops: sustained rate of one of the paper's 8 GPUs.
        paper_gpu: kind of these GPUs, whose roofline gives the rate where none is given; without both there are no
            hours for the paper's scale.

    Raises:
        InputError: for a GPU that is not in the table of devices.
    """
    missing = [planned.cell.config for planned in plan.in_state("missing") if planned.cell.config is not None]
    cells, at_paper = paper_cost(plan, prepared_root)
    lines = []
    if missing:
        rate = gflops or measure_gflops(missing[0])
        how = "given" if gflops else "measured here on one thread"
        here = total([cell_cost_of(config, prepared_root, plan.runs_root) for config in missing])
        lines += [
            f"missing: {len(missing)} cells, {here.steps:,} optimizer steps, {here.gmacs:.3g} GMACs",
            f"  time   {_hours(here, rate, 1)} of one worker at {rate:.4g} GFLOP/s ({how})" + _money(here, rate, price),
            f"  disk   {here.disk_mib:.0f} MiB, and {here.peak_state_mib:.0f} MiB of checkpoints per running cell",
        ]
    lines.append(
        f"paper's scale: {cells} cells, {at_paper.steps:,} optimizer steps, {at_paper.gmacs:.3g} GMACs, "
        f"{at_paper.disk_mib / 1024:.1f} GiB"
    )
    source = "given"
    if not paper_gflops and paper_gpu:
        paper_gflops, source = roofline_gflops(paper_gpu)
    if paper_gflops:
        lines.append(
            f"  time   {_hours(at_paper, paper_gflops, PAPER_GPUS)} on {PAPER_GPUS} GPUs at {paper_gflops:.4g} GFLOP/s "
            f"each ({source})" + _money(at_paper, paper_gflops, price)
        )
    else:
        lines.append(f"  time   name the kind of the {PAPER_GPUS} GPUs with --accelerator-type, or set --paper-gflops")
    return "\n".join(lines)


def _hours(cost: CellCost, gflops: float, workers: int) -> str:
    seconds = cost.worker_seconds(gflops)
    return f"{format_seconds(seconds / workers)} = {seconds / 3600:.2f} worker-hours"


def _money(cost: CellCost, gflops: float, per_hour: float | None) -> str:
    return "" if per_hour is None else f", {cost.worker_seconds(gflops) / 3600 * per_hour:.2f} at {per_hour:g} per hour"
