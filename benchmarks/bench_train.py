"""Training and evaluation as ratios of one run on one machine: step, scaling, fixed costs, scoring.

    python benchmarks/bench_train.py                      # all parts, about 10 minutes, 12 GiB
    python benchmarks/bench_train.py --parts scaling      # step, scaling, fixed, scoring

The `step` part trains the base model at 480x480; `--scale tiny` does the same in seconds, to see that it works. Seconds
on a shared machine mean little: the ratios are between things measured moments apart, and the load is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
import torch.multiprocessing

from pipeline.config import ExecutionConfig, RunConfig, replace_at
from pipeline.cost.flops import measure_cost
from pipeline.cost.peak_memory import resident_peak_mib
from pipeline.cost.utilization import FLOPS_PER_MAC, TRAINING_FACTOR
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.dataset.transforms import resize_mask
from pipeline.data.masks import encode_mask
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.distributed.process_group import Worker
from pipeline.evaluation import evaluate
from pipeline.job import Job, resolve_job
from pipeline.provenance import hardware
from pipeline.recipes import default_run
from pipeline.records import SAMPLE_SCHEMA, write_table
from pipeline.training.state import TrainState
from pipeline.training.trainer import train
from sharedris.build import build_model
from sharedris.kernels import use_kernels

SET = "toyplus_unc"
WARM_UP = 2
PAPERS_SHARE = 14
"""Samples of one worker in a step: 112 on 8 GPUs (section IV-A)."""


def matrix_gflops(size: int = 2048, repeats: int = 8) -> dict[str, float]:
    """Return the best rates of a float32 matrix product in this process, by torch's two libraries."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    products = {"torch.mm": torch.mm}
    if torch.backends.mkldnn.is_available():
        products["oneDNN"] = lambda x, y: torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")
    rates = {}
    with torch.inference_mode():
        for name, product in products.items():
            seconds = []
            for _ in range(repeats):
                begun = time.perf_counter()
                product(left, right)
                seconds.append(time.perf_counter() - begun)
            rates[name] = 2 * size**3 / min(seconds) / 1e9
    return rates


def prepare(folder: Path, *, expressions: int) -> None:
    """Write and prepare the synthetic set below a folder."""
    write_synthetic(folder / "refer", SET, expressions=expressions, seed=0)
    prepare_source(read_refer(folder / "refer", SET), str(folder / "prepared"))


def job_of(config: RunConfig, folder: Path, **execution: Any) -> Job:
    """Return a job with runs of its own."""
    runs = tempfile.mkdtemp(dir=folder)
    job = resolve_job(
        config,
        ExecutionConfig(device="cpu", prepared_root=str(folder / "prepared"), runs_root=runs, **execution),
        provenance={"git_commit": "bench", "git_dirty": False, "versions_json": "{}"},
    )
    job.state_folder.mkdir(parents=True)
    return job


def short_run(scale: str, *, batch: int, steps: int, precision: str = "fp32") -> RunConfig:
    """Return one epoch of so many steps."""
    config = default_run(scale=scale, train_sets=(SET,))
    shape = replace(config.train, epochs=1, global_batch_size=batch, max_samples_per_epoch=batch * steps)
    return replace(config, train=replace(shape, precision=precision))  # type: ignore[arg-type]


def phases(state: TrainState, *, skip: int = WARM_UP) -> dict[str, float]:
    """Return median seconds of a step after the first ones, and the share of each phase in it."""
    whole = statistics.median(state.step_seconds[skip:])
    steps = len(state.step_seconds)
    shares = {name: seconds / sum(state.step_seconds) for name, seconds in state.phase_seconds.items()}
    waiting = sum(state.wait_seconds[skip:]) / sum(state.step_seconds[skip:])
    return {"seconds": whole, "steps": steps, "data": waiting, **shares}


def bench_step(folder: Path, scale: str) -> str:
    """Train some steps of the base model with the loader on, beside the machine's matrix products."""
    torch.set_num_threads(os.cpu_count() or 1)
    config = short_run(scale, batch=2, steps=6)
    gflop = sum(cost.gmacs for cost in measure_cost(config.model)) * FLOPS_PER_MAC * TRAINING_FACTOR * 2
    before = matrix_gflops()
    state = train(job_of(config, folder, loader_workers=1), Worker())
    after = matrix_gflops()
    rates = {name: max(before[name], after[name]) for name in before}
    found = phases(state)
    achieved = gflop / found["seconds"]
    return table(
        f"Training step, {scale}, {config.model.encoder.image_size}x{config.model.encoder.image_size}, batch 2, fp32, "
        f"{torch.get_num_threads()} threads",
        [
            (
                "matrix product 2048x2048x2048",
                ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in rates.items()),
            ),
            ("step (median)", f"{found['seconds']:.2f} s for {gflop:.0f} GFLOP (forward x 3) = {achieved:.0f} GFLOP/s"),
            ("**step / torch.mm** (at least 75 %)", f"**{achieved / rates['torch.mm']:.0%}**"),
            *[(f"step / {name}", f"{achieved / rate:.0%}") for name, rate in rates.items() if name != "torch.mm"],
            ("**data wait / step** (below 3 %)", f"**{found['data']:.2%}**"),
            ("forward / step", f"{found['forward']:.1%}"),
            ("backward / step", f"{found['backward']:.1%}"),
            ("reduce / step", "one worker: none (see scaling)"),
            ("clip and optimizer / step", f"{found['optimizer']:.1%}"),
        ],
    )


def bench_scaling(folder: Path, steps: int = 40, rounds: int = 4) -> str:
    """Train the tiny model with one worker on one core, and with two on two, each with the paper's 14 samples a step.

    They take turns and the best round of each counts; steps are those of a second epoch, when the images of the first
    one are in memory as in most of a run. Two separate runs at once, which exchange nothing, show what two
    cores of this machine give at most; without synchronised batch norm two workers meet at the gradients alone.
    """
    config = replace_at(short_run("tiny", batch=PAPERS_SHARE, steps=steps), "train.epochs", 2)
    both = 2 * PAPERS_SHARE
    double = replace(config, train=replace(config.train, global_batch_size=both, max_samples_per_epoch=both * steps))
    apart_norms = replace(double, train=replace(double.train, synchronize_batch_norm=False))
    lone, pair, unsynchronised, apart = [], [], [], []
    for _ in range(rounds):
        lone.append(run_workers([job_of(config, folder)], 1)[0])
        pair.append(run_workers([job_of(double, folder, workers=2)], 2)[0])
        unsynchronised.append(run_workers([job_of(apart_norms, folder, workers=2)], 2)[0])
        apart.append(run_workers([job_of(config, folder) for _ in range(2)], 1))
    one, two, plain = (min(runs, key=lambda run: run["seconds"]) for runs in (lone, pair, unsynchronised))
    separate = max(sum(PAPERS_SHARE / run["seconds"] for run in runs) for runs in apart)
    reduce = two["backward_seconds"] - one["backward_seconds"]
    return table(
        f"Two DDP workers on two cores against one on one core (tiny, {PAPERS_SHARE} samples a worker and step, "
        f"best of {rounds})",
        [
            ("one worker", f"{PAPERS_SHARE / one['seconds']:.1f} samples/s"),
            ("two workers", f"{both / two['seconds']:.1f} samples/s"),
            ("two separate runs at once", f"{separate:.1f} samples/s"),
            ("**two workers / one** (at least 1.65)", f"**{2 * one['seconds'] / two['seconds']:.2f}**"),
            ("the same without synchronised batch norm", f"{2 * one['seconds'] / plain['seconds']:.2f}"),
            ("two separate runs / one, the machine's limit", f"{separate * one['seconds'] / PAPERS_SHARE:.2f}"),
            ("reduce / step of two (what backward takes longer)", f"{max(0.0, reduce) / two['seconds']:.1%}"),
        ],
    )


def run_workers(jobs: list[Job], world_size: int) -> list[dict[str, float]]:
    """Train jobs at once, each by `world_size` processes of one thread and a core; return the times of rank 0."""
    started = [
        torch.multiprocessing.spawn(
            _train_one, args=(world_size, job, str(job.runs_root / "times.json"), place), nprocs=world_size, join=False
        )
        for place, job in enumerate(jobs)
    ]
    for context in started:
        while not context.join():
            pass
    return [json.loads((job.runs_root / "times.json").read_text()) for job in jobs]


def _train_one(rank: int, world_size: int, job: Job, answer: str, place: int) -> None:
    torch.set_num_threads(1)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {(rank + place) % (os.cpu_count() or 1)})
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{answer}.meeting", rank=rank, world_size=world_size)
    state = train(job, Worker(rank=rank, world_size=world_size))
    if rank == 0:
        backward = state.phase_seconds["backward"] / len(state.step_seconds)
        first_epoch = len(state.step_seconds) // job.config.train.epochs
        found = {**phases(state, skip=first_epoch), "backward_seconds": backward}
        Path(answer).write_text(json.dumps(found))


def bench_fixed(folder: Path) -> str:
    """Run a whole tiny run as a command, in-process and with Ray, and say where the time went that was not steps."""
    rows = []
    prepare(folder / "few", expressions=150)  # the evaluation is no fixed cost, but lies between last step and record
    for name, options in (("in-process", []), ("Ray, 1 worker", ["--ray"])):
        runs = Path(tempfile.mkdtemp(dir=folder))
        command = [sys.executable, "-m", "pipeline.cli.main", "train", "--prepared", str(folder / "few/prepared")]
        command += ["--runs", str(runs), "--epochs", "1", "--global-batch-size", "8", "--device", "cpu", *options]
        command += ["--train.max-samples-per-epoch=32"]
        begun = time.time()
        stages = _watch_start(command, runs)
        ended = time.time()
        path = next((runs / "records").glob("*.parquet"))
        record = pd.read_parquet(path).iloc[0]
        ready = datetime.fromisoformat(record["started"]).timestamp()
        steps = float(pd.read_parquet(next((runs / "history").glob("*.parquet")))["seconds"].sum())
        scored = float(record["samples"] / record["evaluate_samples_per_second"])
        recorded = path.stat().st_mtime
        rows += [
            (f"**{name}**: start to first step + last step to record", f"**{recorded - begun - steps:.1f} s**"),
            (f"{name}: start until the model is built", f"{ready - begun:.1f} s"),
            *_between([("start", begun), *stages, ("the model is built", ready)], name),
            (f"{name}: evaluation of {record['samples']} samples", f"{scored:.1f} s"),
            (f"{name}: optimizer's first use, checkpoints, export", f"{recorded - ready - steps - scored:.1f} s"),
            (f"{name}: record to the command's end", f"{ended - recorded:.1f} s"),
        ]
    return table("Fixed cost of a run (at most 4 s in-process)", rows)


STAGES = {
    "the driver holds the run (imports, configuration)": "state/*/driver.json",
    "Ray runs": "state/*/sign-*",
    "the worker group stands (its process, imports, process group)": "state/*/placement_group",
}


def _watch_start(command: list[str], runs: Path) -> list[tuple[str, float]]:
    """Run a command; return when each stage of its start was first seen by its file."""
    found: dict[str, float] = {}
    quiet, alone = subprocess.DEVNULL, {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=alone) as process:
        while process.poll() is None:
            for stage, pattern in STAGES.items():
                if stage not in found and any(runs.glob(pattern)):
                    found[stage] = time.time()
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return list(found.items())


def _between(moments: list[tuple[str, float]], name: str) -> list[tuple[str, str]]:
    pairs = itertools.pairwise(moments)
    return [(f"{name}: - until {stage}", f"{when - before:.1f} s") for (_, before), (stage, when) in pairs]


def bench_scoring(folder: Path, scale: str, rows: int = 10_000) -> str:
    """Time the scoring of a sample beside its forward pass, and weigh the rows of 10,000 samples."""
    torch.set_num_threads(os.cpu_count() or 1)
    config = default_run(scale=scale, train_sets=(SET,))
    encoder = config.model.encoder
    dataset = ReferDataset(str(folder / "prepared"), f"{SET}/val", image_size=encoder.image_size, text_tokens=20)
    model = build_model(config.model)
    use_kernels(model)
    evaluated = 12
    begun = time.perf_counter()
    subset = torch.utils.data.Subset(dataset, range(evaluated))
    frame = evaluate.evaluate_split(
        model, subset, evaluation=config.evaluation, precision="fp32", worker=Worker(), on_progress=lambda *_: None
    )
    whole = (time.perf_counter() - begun) / evaluated
    side = config.model.logits_size
    probability_HW = torch.rand(side // 8, side // 8).repeat_interleave(8, 0).repeat_interleave(8, 1)
    sample = dataset[0]
    mask_HW = resize_mask(sample.mask_SS, 640)[:480]
    info = replace(sample.info, height=480, width=640, mask_rle=encode_mask(mask_HW.astype(bool)))
    target_HW = torch.from_numpy(sample.mask_SS)
    begun = time.perf_counter()
    for _ in range(20):
        evaluate.score_sample(probability_HW, target_HW, info, config.evaluation)
    scoring = (time.perf_counter() - begun) / 20
    row = evaluate.score_sample(probability_HW, target_HW, info, config.evaluation)
    with ProcessPoolExecutor(1, mp_context=torch.multiprocessing.get_context("spawn")) as fresh:
        grown = fresh.submit(rows_mib, row, rows, str(folder / "rows.parquet")).result()
    return table(
        f"Evaluation, {scale} at {encoder.image_size}x{encoder.image_size}, masks at 640x480",
        [
            ("a sample, all of it", f"{1000 * whole:.0f} ms ({len(frame)} samples)"),
            (
                "scoring of a sample (3 protocols, a mask of random blocks, RLE), on its own thread",
                f"{1000 * scoring:.1f} ms",
            ),
            ("**scoring / evaluation** (at most 10 %)", f"**{scoring / whole:.1%}**"),
            (
                f"**rows of {rows} samples, gathered and written, in memory at most** (at most 1024 MiB; "
                f"a mask's RLE {len(row['mask_rle'])} bytes)",
                f"**{grown:.0f} MiB**",
            ),
        ],
    )


def rows_mib(row: dict[str, Any], rows: int, path: str) -> float:
    """Return by how much this process grows at most while it holds, gathers and writes the rows of so many samples."""
    before = resident_peak_mib()
    own = [{**row, "index": index, "mask_rle": row["mask_rle"] + index.to_bytes(4)} for index in range(rows)]
    shares = [pickle.loads(pickle.dumps(own))]  # noqa: S301, as a gather over workers makes them
    frame = pd.DataFrame([each for share in shares for each in share]).sort_values("index", ignore_index=True)
    write_table(Path(path), frame, SAMPLE_SCHEMA)
    return resident_peak_mib() - before


def table(title: str, rows: list[tuple[str, str]]) -> str:
    """Return rows as a Markdown table below a title."""
    body = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"### {title}\n\n| what | measured |\n|---|---|\n{body}\n"


def main() -> None:
    """Print the tables of the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="step,scaling,fixed,scoring")
    parser.add_argument("--scale", default="base", help="of the step and scoring parts")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-train-") as name:
        folder = Path(name)
        prepare(folder, expressions=1200)
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        machine = f"{hardware(1)['processor']}, {platform.machine()}, {os.cpu_count()} CPUs, {memory_gib:.0f} GiB"
        print(f"{machine}, load before {load}, torch {torch.__version__}\n")
        parts = {
            "step": lambda: bench_step(folder, args.scale),
            "scaling": lambda: bench_scaling(folder),
            "fixed": lambda: bench_fixed(folder),
            "scoring": lambda: bench_scoring(folder, args.scale),
        }
        for part in args.parts.split(","):
            print(parts[part](), flush=True)


if __name__ == "__main__":
    main()
