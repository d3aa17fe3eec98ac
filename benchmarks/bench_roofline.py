"""The roofline behind `train --plan`, checked: training steps on this CPU, and public speeds of three GPUs.

    python benchmarks/bench_roofline.py --write             # writes benchmarks/results/roofline.md; half an hour, 8 GiB
    python benchmarks/bench_roofline.py --cases tiny:fp32:16       # in a minute, to see that it works

A case is SCALE:PRECISION:SAMPLES, and :PIXELS where the image is smaller than the scale's. A round measures steps and
then the rates of the CPU; the ratio is that of the medians over all rounds. CPU seconds of one thread, which vary less
than wall seconds on a shared machine.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402

from pipeline.cost.cpu_rates import measure_cpu_rates  # noqa: E402
from pipeline.cost.roofline import MEMORY_SHARE, PRODUCT_SHARE, step_seconds  # noqa: E402
from pipeline.cost.step_timing import StepShape, make_step  # noqa: E402
from pipeline.cost.step_trace import trace_step  # noqa: E402
from sharedris.scales import SCALES  # noqa: E402
from tests.pipeline.cost.timm_tables import fitted_share, read_rows, table_lines  # noqa: E402

CASES = "tiny:fp32:16,tiny:bf16:16,base:fp32:2,base:bf16:1:224"
clock = time.process_time


def read_case(text: str) -> StepShape:
    """Return the step that a case names."""
    scale, precision, samples, *pixels = text.split(":")
    model = SCALES[scale]()
    if pixels:
        model = replace(model, encoder=replace(model.encoder, image_size=int(pixels[0])))
    return StepShape(model=model, micro_batch_size=int(samples), precision=precision)  # type: ignore[arg-type]


def bench_case(text: str, rounds: int) -> str:
    """Return the row of a case: seconds of a step, measured and predicted, in turns."""
    shape = read_case(text)
    trace = trace_step(shape.model, micro_batch_size=shape.micro_batch_size, precision=shape.precision, device="cpu")
    step = make_step(shape, torch.device("cpu"))
    step()
    measured, predicted, overheads = [], [], []
    for _ in range(rounds):
        for _ in range(5 if shape.model.scale == "tiny" else 1):
            started = clock()
            step()
            measured.append(clock() - started)
        rates = measure_cpu_rates(trace.kernels, seconds=None, clock=clock)
        predicted.append(step_seconds(trace, rates, precision=shape.precision, device="cpu"))
        overheads.append(rates.overhead_seconds)
    seconds, expected = statistics.median(measured), statistics.median(predicted)
    spread = f"{min(measured):.3g} .. {max(measured):.3g}"
    model = f"{shape.model.scale}, {shape.model.encoder.image_size} pixels"
    return (
        f"| {model} | {shape.precision} | {shape.micro_batch_size} "
        f"| {seconds:.3g} ({spread}) | {expected:.3g} ({min(predicted):.3g} .. {max(predicted):.3g}) "
        f"| **{expected / seconds:.2f}** | {len(trace.kernels)} x {1e6 * statistics.median(overheads):.0f} us |"
    )


def cpu_lines(cases: list[str], rounds: int) -> Iterator[str]:
    """Yield the table of steps on this CPU."""
    yield "## A training step on this CPU\n"
    yield f"CPU seconds of one thread; medians of {rounds} rounds (smallest .. largest). Goal: 0.85 to 1.15.\n"
    yield "| model | precision | samples | measured, s | predicted, s | predicted / measured | of it overhead |"
    yield "|---|---|---|---|---|---|---|"
    for case in cases:
        yield bench_case(case, rounds)
    yield f"\nload {os.getloadavg()[0]:.1f} at the end\n"


def gpu_lines() -> Iterator[str]:
    """Yield the table of public speeds, and the shares that the rows to fit give."""
    yield "## Vision transformers in inference on three GPUs\n"
    yield (
        "Published: timm's `results/benchmark-infer-amp-nchw-*.csv` (autocast, no compiler; "
        "`tests/golden/timm_inference.csv` names files and commit). Predicted: a plain ViT of torch's modules, traced. "
        "Goal: 0.85 to 1.15 where it says "
        '"check". Rows that say "other" are neither fitted on nor asked for.\n'
    )
    yield from table_lines(read_rows())
    yield "\n| GPU | share of the peak, fitted here | in `pipeline/cost/roofline.py` |\n|---|---|---|"
    for gpu, share in PRODUCT_SHARE.items():
        yield f"| {gpu} | {fitted_share(read_rows('fit'), gpu):.2f} | {share:.2f} |"
    yield (
        f"\nThe memory's share, {MEMORY_SHARE}, is an assumption: the fitted rows leave it open between 0.8 and 1. "
        "That a norm copies tokens that do not lie in rows, as those of SigLIP do, was added after a look at all rows: "
        "without it SigLIP's were further off. The peaks and bandwidths are of the data sheets "
        "(`pipeline/cost/devices.py`). "
        "**No GPU has confirmed a training step.**\n"
    )


def main() -> None:
    """Print the tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/roofline.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    command = f"python benchmarks/bench_roofline.py --cases {args.cases} --rounds {args.rounds}"
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}"
    lines = [
        "# The roofline of `train --plan`, checked\n",
        f"`{command}`: {machine}, {datetime.now(UTC).date()}, load {os.getloadavg()[0]:.1f} at the start.\n",
    ]
    print("\n".join(lines))
    for line in itertools.chain(cpu_lines(args.cases.split(","), args.rounds), gpu_lines()):
        print(line, flush=True)
        lines.append(line)
    if args.write:
        (HERE / "results" / "roofline.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
