"""Each compared module beside Shared-RIS at the paper's scale: seconds and memory on this machine, on real photographs.

    python benchmarks/bench_compared.py --prepared data/prepared --split refcoco_unc/val    # about 20 minutes, 8 GiB
    python benchmarks/bench_compared.py --prepared ... --split ... --only "V CGFormer"

Every row is a process of its own. A forward pass of one photograph, best of the repeats; then one optimisation step as
a run takes it (two photographs, since batch norms want more than one; fp32, activation checkpointing, AdamW, clipping),
and the loss of the same two before and after it. CPU seconds, which vary less than wall seconds on a shared machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import torch

from pipeline.cost import measure_cost
from pipeline.cost_memory import peak_memory_mib
from pipeline.data.dataset import ReferDataset
from pipeline.data.loader import Batch, collate
from pipeline.distributed import Worker
from pipeline.optim import build_optimizer
from pipeline.presets import default_run
from pipeline.train_step import train_step
from sharedris.config import ModelConfig
from sharedris.loss import segmentation_loss
from sharedris.model import build_model
from sweeps.registry import SWEEPS
from sweeps.spec import Row, cells_of

OURS = "IV Shared FPN (Ours)"
TABLES = ("IV", "V", "VI", "X")


def models() -> dict[str, ModelConfig]:
    """Return the distinct models of the four tables at the paper's scale, ours first."""
    tables: dict[str, tuple[Row, ...]] = {name: SWEEPS["all"].tables[name] for name in TABLES}
    sweep = replace(SWEEPS["all"], tables=tables)
    cells = cells_of(sweep, lambda seed, _: default_run(scale="base", seed=seed), (0,))
    found = {cell.names[0].replace("/", " ", 1): cell.config.model for cell in cells if cell.config is not None}
    return {OURS: found.pop(OURS), **found}


def measure(config: ModelConfig, prepared: str, split: str, repeats: int) -> dict[str, Any]:
    """Return seconds and memory of a forward pass and of an optimisation step, and the loss before and after it."""
    torch.manual_seed(0)
    encoder = config.encoder
    dataset = ReferDataset(prepared, split, image_size=encoder.image_size, text_tokens=encoder.text_tokens)
    run = default_run(scale="base")
    model = build_model(config).eval()
    one, two = collate([dataset[0]]), collate([dataset[0], dataset[len(dataset) // 2]])
    with torch.inference_mode(), peak_memory_mib("cpu") as forward_memory:
        forward = min(_timed(lambda: model(one.image_BCHW, one.token_ids_BT, one.padding_BT)) for _ in range(repeats))
    model.train().set_activation_checkpointing(True)
    optimizer = build_optimizer(model, replace(run.optim, learning_rate=1e-5))
    train = replace(run.train, precision="fp32")
    losses = []

    def step(batch: Batch) -> None:
        result = train_step(
            model,
            optimizer,
            torch.amp.GradScaler("cpu", enabled=False),
            [batch],
            train=train,
            optim=run.optim,
            worker=Worker(),
            step=0,
        )
        losses.append(float(result.terms[0]))

    with peak_memory_mib("cpu") as step_memory:
        seconds = _timed(lambda: step(two))
    with torch.no_grad():
        logits_BHW = model(two.image_BCHW, two.token_ids_BT, two.padding_BT)
        own = model.take_own_loss(two.mask_BHW)
        after = segmentation_loss(logits_BHW, two.mask_BHW, train.loss).total
        losses.append(float(after if own is None else after + own))
    return {
        "forward_seconds": forward[0],
        "forward_cpu_seconds": forward[1],
        "forward_mib": forward_memory.mib,
        "step_seconds": seconds[0],
        "step_cpu_seconds": seconds[1],
        "step_mib": step_memory.mib,
        "losses": losses,
    }


def _timed(work: Any) -> tuple[float, float]:
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu_started


def _row(name: str, config: ModelConfig, values: dict[str, Any], ours: dict[str, Any]) -> str:
    costs = measure_cost(config)
    million_params, gmacs = sum(cost.million_params for cost in costs), sum(cost.gmacs for cost in costs)
    forward, step = values["forward_cpu_seconds"], values["step_cpu_seconds"]
    ratios = forward / ours["forward_cpu_seconds"], step / ours["step_cpu_seconds"]
    cells = [name, f"{million_params:.0f}", f"{gmacs:.0f}", f"{forward:.1f}", f"{ratios[0]:.1f}"]
    cells += [f"{values['forward_mib']:.0f}", f"{step:.1f}", f"{ratios[1]:.1f}", f"{values['step_mib']:.0f}"]
    return f"| {' | '.join([*cells, ' to '.join(f'{loss:.3f}' for loss in values['losses'])])} |"


def main() -> None:
    """Parse arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="names of rows, as the table has them")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        print(json.dumps(measure(models()[args.one], args.prepared, args.split, args.repeats)))
        return
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} thread, ", end="")
    print(f"torch {torch.__version__}; load {load:.1f}\n")
    print("| row | M params | GMACs | forward, CPU s | ratio | peak MiB | step of 2, CPU s | ratio | peak MiB | loss |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    ours: dict[str, Any] = {}
    for name, config in models().items():
        if args.only and name not in (*args.only, OURS):
            continue
        command = [sys.executable, __file__, "--prepared", args.prepared, "--split", args.split, "--one", name]
        command += ["--repeats", str(args.repeats), "--threads", str(args.threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        values = json.loads(done.stdout.splitlines()[-1])
        ours = ours or values
        print(_row(name, config, values, ours), flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
