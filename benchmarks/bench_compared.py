"""Each compared module beside Shared-RIS at the paper's scale: seconds and memory on this machine.

    python benchmarks/bench_compared.py                          # on synthetic pictures; about 20 minutes, 8 GiB
    python benchmarks/bench_compared.py --prepared data/prepared --split refcoco_unc/val       # on photographs
    python benchmarks/bench_compared.py --only "V CGFormer"      # this row, and ours to compare it with
    python benchmarks/bench_compared.py --scale tiny             # in seconds, to see that it works

Every row is a process of its own. A forward pass of one image, best of the repeats after one that is not timed; then
one optimisation step as a run takes it (two images, since batch norms want more than one; fp32, activation
checkpointing, AdamW, clipping), and the loss of the same two before and after it, with the same random draws (paths and
features dropped, noise, hidden words). CPU seconds, which vary less than wall seconds on a shared machine.

Photographs must be prepared with a tokenizer of at most 30,522 ids, which is what BERT's rows have.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from pipeline.cost.flops import measure_cost
from pipeline.cost.peak_memory import peak_memory_mib
from pipeline.data.dataset.loader import Batch, collate
from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.distributed.process_group import Worker
from pipeline.provenance import collect
from pipeline.recipes import default_run
from pipeline.training.model_with_loss import ModelWithLoss
from pipeline.training.optimizer import build_optimizer
from pipeline.training.step import train_step
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import LossConfig
from sharedris.kernels import use_kernels
from sharedris.loss import segmentation_loss
from sharedris.model import SharedRis
from sharedris.scales import SCALES
from sweeps.registry import SWEEPS
from sweeps.spec import Row, cells_of

OURS = "IV Shared FPN (Ours)"
TABLES = ("IV", "V", "VI", "X")
SET = "toyplus_unc"
LEARNING_RATE = 1e-7
"""So small that the loss falls where the gradient is right; from random weights 1e-5 can overshoot."""
DRAWS = 1
"""Seed of what is drawn in the two passes that a loss is taken from."""


def models(scale: str) -> dict[str, ComparedModelConfig]:
    """Return the distinct models of the four tables, ours first."""
    tables: dict[str, tuple[Row, ...]] = {name: SWEEPS["all"].tables[name] for name in TABLES}
    sweep = replace(SWEEPS["all"], tables=tables)
    cells = cells_of(sweep, lambda seed, _: default_run(scale=scale, seed=seed), (0,))
    found = {cell.names[0].replace("/", " ", 1): cell.config.model for cell in cells if cell.config is not None}
    return {OURS: found.pop(OURS), **found}


def measure(config: ComparedModelConfig, prepared: str, split: str, repeats: int) -> dict[str, Any]:
    """Return seconds and memory of a forward pass and of an optimisation step, and the loss before and after it."""
    torch.manual_seed(0)
    encoder = config.encoder
    dataset = ReferDataset(prepared, split, image_size=encoder.image_size, text_tokens=encoder.text_tokens)
    model = build_model(config)
    use_kernels(model)
    one, two = collate([dataset[0]]), collate([dataset[0], dataset[len(dataset) // 2]])
    return {**_measure_forward(model, one, repeats), **_measure_step(model, two)}


def _measure_forward(model: SharedRis, batch: Batch, repeats: int) -> dict[str, float]:
    model.eval()
    with torch.inference_mode():
        _logits(model, batch)  # what is made on first use is not timed
        with peak_memory_mib("cpu") as memory:
            best = min(_timed(lambda: _logits(model, batch)) for _ in range(repeats))
    return {"forward_seconds": best[0], "forward_cpu_seconds": best[1], "forward_mib": memory.mib}


def _measure_step(model: SharedRis, batch: Batch) -> dict[str, Any]:
    run = default_run(scale="base")
    optimizer = build_optimizer(model, replace(run.optim, learning_rate=LEARNING_RATE))
    train = replace(run.train, precision="fp32")
    model.train().set_activation_checkpointing(True)
    trained = ModelWithLoss(model, train).train()
    losses = []

    def step() -> None:
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        result = train_step(trained, optimizer, scaler, [batch], optim=run.optim, worker=Worker(), step=0)
        losses.append(float(result.values[0]))

    torch.manual_seed(DRAWS)
    with peak_memory_mib("cpu") as memory:
        seconds = _timed(step)
    torch.manual_seed(DRAWS)
    losses.append(_loss(model, batch, train.loss))
    return {
        "step_seconds": seconds[0],
        "step_cpu_seconds": seconds[1],
        "step_mib": memory.mib,
        "losses": losses,
    }


@torch.no_grad()
def _loss(model: SharedRis, batch: Batch, weights: LossConfig) -> float:
    loss = segmentation_loss(_logits(model, batch), batch.mask_BHW, weights).total
    own = model.pop_auxiliary_loss(batch.mask_BHW)
    return float(loss if own is None else loss + own)


def _logits(model: SharedRis, batch: Batch) -> torch.Tensor:
    return model(batch.image_BCHW, batch.token_ids_BT, batch.padding_BT)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu_started


def _row(name: str, config: ComparedModelConfig, values: dict[str, Any], ours: dict[str, Any]) -> str:
    costs = measure_cost(config)
    million_params, gmacs = sum(cost.million_params for cost in costs), sum(cost.gmacs for cost in costs)
    forward, step = values["forward_cpu_seconds"], values["step_cpu_seconds"]
    ratios = forward / ours["forward_cpu_seconds"], step / ours["step_cpu_seconds"]
    cells = [name, f"{million_params:.0f}", f"{gmacs:.0f}", f"{forward:.1f}", f"{ratios[0]:.1f}"]
    cells += [f"{values['forward_mib']:.0f}", f"{step:.1f}", f"{ratios[1]:.1f}", f"{values['step_mib']:.0f}"]
    return f"| {' | '.join([*cells, ' to '.join(f'{loss:.4f}' for loss in values['losses'])])} |"


def prepare(folder: Path) -> str:
    """Write and prepare a small synthetic set below a folder; return the folder of what is prepared."""
    write_synthetic(folder / "refer", SET, expressions=200, seed=0)
    prepare_source(read_refer(folder / "refer", SET), str(folder / "prepared"))
    return str(folder / "prepared")


def print_header(split: str, threads: int) -> None:
    """Print what the numbers below were taken of and on."""
    state = collect()
    commit = f"{state['git_commit'][:7]}{' with changes' if state['git_dirty'] else ''}"
    print(f"{datetime.now():%Y-%m-%d %H:%M}, commit {commit}; {platform.machine()}, {os.cpu_count()} CPUs, ", end="")
    print(f"threads: {threads}, torch {torch.__version__}; load {os.getloadavg()[0]:.1f}; images of {split}\n")


def main() -> None:
    """Parse arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", help="folder of prepared sets; without it a synthetic set is made")
    parser.add_argument("--split", help="of the prepared sets: SET/SPLIT")
    parser.add_argument("--scale", choices=sorted(SCALES), default="base")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="names of rows, as the table has them")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if bool(args.prepared) != bool(args.split):
        parser.error("--prepared and --split go together")
    torch.set_num_threads(args.threads)
    if args.one:
        print(json.dumps(measure(models(args.scale)[args.one], args.prepared, args.split, args.repeats)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-compared-") as name:
        prepared, split = (args.prepared, args.split) if args.prepared else (prepare(Path(name)), f"{SET}/val")
        print_header(split if args.prepared else f"{split} (synthetic)", args.threads)
        options = ["--prepared", prepared, "--split", split, "--scale", args.scale]
        print_table([*options, "--repeats", str(args.repeats), "--threads", str(args.threads)], args.scale, args.only)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


def print_table(options: list[str], scale: str, only: list[str] | None) -> None:
    """Measure each row, or ours and those that are asked for, in a process of its own, and print it."""
    print("| row | M params | GMACs | forward, CPU s | ratio | peak MiB | step of 2, CPU s | ratio | peak MiB | loss |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    ours: dict[str, Any] = {}
    for name, config in models(scale).items():
        if only and name not in (*only, OURS):
            continue
        command = [sys.executable, __file__, *options, "--one", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        values = json.loads(done.stdout.splitlines()[-1])
        ours = ours or values
        print(_row(name, config, values, ours), flush=True)


if __name__ == "__main__":
    main()
