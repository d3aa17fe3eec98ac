"""What a sweep costs beside its training; prints Markdown.

    python benchmarks/bench_sweep.py                    48 cells (16 x 3 seeds) of tiny on this machine, and 8 nodes
    python benchmarks/bench_sweep.py --cells 4 --seeds 1 --epochs 1 --samples 800     a short look
    python benchmarks/bench_sweep.py --only nodes       48 trivial cells on a simulated cluster of 8 nodes

Overhead of a cell = (wall x slots - seconds that its workers trained and evaluated) / cells. Worker CPU is the
user and system time of the training workers as Linux counts it.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import ray
from ray._private.state import actors as all_actors
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from pipeline.monitoring.console_log import own_handler
from pipeline.provenance import collect
from pipeline.recipes import DEFAULT_SET, default_run
from pipeline.records import RECORD_SCHEMA, list_runs, read_table, record_path
from sharedris.baselines.config import ComparedDecoderConfig, ComparedFpnConfig, ComparedModelConfig
from sharedris.config import EncoderConfig, FusionConfig, HeadConfig
from sweeps.plan import SweepPlan, plan_sweep
from sweeps.run import run_sweep
from sweeps.search import draws
from sweeps.spec import Sweep

_TICKS = os.sysconf("SC_CLK_TCK")
_FIRST_TRIAL_OF_MEMORY = 5


class Observer(threading.Thread):
    """Samples this driver's memory and the CPU time of training workers until it is stopped."""

    def __init__(self, runs: Path) -> None:
        super().__init__(daemon=True)
        self.runs = runs
        self.memory_mib: list[tuple[int, float]] = []  # records so far, resident memory
        self.worker_seconds: dict[str, float] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(1.0):
            status = Path("/proc/self/status").read_text()
            resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            self.memory_mib.append((len(list_runs(self.runs)), int(resident.split()[1]) / 1024))
            for folder in Path("/proc").glob("[0-9]*"):
                self._look_at(folder)

    def _look_at(self, folder: Path) -> None:
        try:
            if b"RayTrainWorker" not in (folder / "cmdline").read_bytes():
                return
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            return
        self.worker_seconds[folder.name] = (int(fields[11]) + int(fields[12])) / _TICKS


def random_sweep(cells: int) -> Sweep:
    """Return a sweep of distinct cells of equal cost."""
    rows = draws({"optim.learning_rate": lambda rng: 10 ** rng.uniform(-3.5, -2.5)}, count=cells, seed=0)
    return Sweep(name=f"bench-{cells}", title="cells of equal cost", tables={"B": rows})


def prepare(root: Path, expressions: int) -> Path:
    """Write and prepare the synthetic set."""
    write_synthetic(root / "refer", DEFAULT_SET, expressions=expressions, seed=0)
    prepare_source(read_refer(root / "refer", DEFAULT_SET), str(root / "prepared"))
    return root / "prepared"


def plan_of(sweep: Sweep, config: RunConfig, prepared: Path, runs: Path, seeds: int) -> SweepPlan:
    """Return the plan of a sweep on the CPU, one worker a cell."""
    execution = ExecutionConfig(device="cpu", prepared_root=str(prepared), runs_root=str(runs))
    return plan_sweep(
        sweep, lambda seed, _: replace(config, seed=seed), execution, seeds=range(seeds), provenance=collect()
    )


def bench_machine(cells: int, seeds: int, epochs: int, samples: int) -> None:
    """Run the cells on this machine and print overhead, memory and what is left behind."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        default = default_run()
        train = replace(default.train, epochs=epochs, max_samples_per_epoch=samples)
        plan = plan_of(random_sweep(cells), replace(default, train=train), prepare(root, 4000), root / "runs", seeds)
        observer = Observer(root / "runs")
        observer.start()
        started = time.perf_counter()
        code = run_sweep(plan, experiment="bench")
        wall = time.perf_counter() - started
        observer.ended.set()
        observer.join()
        records = [
            read_table(record_path(root / "runs", name), RECORD_SCHEMA).iloc[0] for name in list_runs(root / "runs")
        ]
        print_machine(code, wall, records, observer, cells * seeds)


def print_machine(code: int, wall: float, records: list[pd.Series], observer: Observer, cells: int) -> None:
    """Print the table of one machine."""
    slots = min(os.cpu_count() or 1, cells)
    trained = sum(float(record["seconds"]) for record in records)
    later = [mib for done, mib in observer.memory_mib if done >= min(_FIRST_TRIAL_OF_MEMORY, cells - 1)]
    growth = f"{later[0]:.0f} -> {later[-1]:.0f} MiB ({100 * (later[-1] / later[0] - 1):+.1f} %)" if later else "-"
    busy = sum(observer.worker_seconds.values()) / (wall * (os.cpu_count() or 1))
    print("\n| one machine | |\n| --- | --- |")
    print(f"| cells with a record (exit code) | {len(records)} of {cells} ({code}) |")
    print(f"| wall, {slots} at once | {wall:.0f} s |")
    print(f"| training and evaluation in the workers | {trained:.0f} s |")
    print(f"| overhead a cell | {(wall * slots - trained) / cells:.1f} s |")
    print(f"| worker CPU / (wall x cores) | {100 * busy:.0f} % |")
    print(f"| driver memory, from {_FIRST_TRIAL_OF_MEMORY} records to the end | {growth} |")


def micro_config() -> RunConfig:
    """Return a run of some seconds."""
    fusion = FusionConfig(heads=2, mlp_width=32, bi_width=32, bi_heads=2)
    encoder = EncoderConfig(
        width=16, layers=2, heads=2, mlp_width=32, patch_size=8, image_size=32, vocabulary_size=1024, text_positions=32
    )
    model = ComparedModelConfig(
        scale="micro",
        width=16,
        encoder=encoder,
        fpn=ComparedFpnConfig(stages=(1, 2), fusion=fusion),
        decoder=ComparedDecoderConfig(fusion=fusion),
        head=HeadConfig(class_token_hidden=16),
    )
    default = default_run()
    return replace(
        default, model=model, train=replace(default.train, epochs=1, global_batch_size=6, max_samples_per_epoch=12)
    )


def left_in_cluster(patience: float = 15) -> tuple[list[str], list[str]]:
    """Return the classes of living actors and the placement groups that a driver left; Ray may take seconds to reap."""
    deadline = time.monotonic() + patience
    while True:
        # Ray's public state API asks the dashboard, which does not run here.
        actors = [str(actor.get("ActorClassName")) for actor in all_actors().values() if actor["State"] == "ALIVE"]
        groups = [name for name, group in placement_group_table().items() if group["state"] == "CREATED"]
        if not (actors or groups) or time.monotonic() > deadline:
            return actors, groups
        time.sleep(0.5)


def bench_nodes(nodes: int, cells: int) -> None:
    """Run trivial cells on real Ray nodes of one CPU each, all on this machine, and look for what they leave behind."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        plan = plan_of(random_sweep(cells), micro_config(), prepare(root, 40), root / "runs", 1)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        os.environ["RAY_ADDRESS"] = cluster.address
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())
        started = time.perf_counter()
        try:
            with own_handler(handler, logging.INFO):
                code = run_sweep(plan, experiment="bench")
            wall = time.perf_counter() - started
            ray.init(address=cluster.address, log_to_driver=False)
            actors, groups = left_in_cluster()
            ray.shutdown()
        finally:
            os.environ.pop("RAY_ADDRESS")
            cluster.shutdown()
        print(f"\n| {nodes} nodes of 1 CPU, {cells} trivial cells | |\n| --- | --- |")
        print(f"| {next(line for line in lines if line.startswith('Ray:'))} | |")
        print(f"| cells with a record (exit code) | {len(list_runs(root / 'runs'))} of {cells} ({code}) |")
        print(f"| wall | {wall:.0f} s |")
        named = f" ({', '.join(sorted(set(actors)))})" if actors else ""
        print(f"| actors and placement groups left in the cluster | {len(actors)}{named} and {len(groups)} |")


def main() -> None:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["machine", "nodes"])
    parser.add_argument("--cells", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--samples", type=int, default=4000, help="training samples an epoch")
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--node-cells", type=int, default=48)
    args = parser.parse_args()
    if args.only != "nodes":
        bench_machine(args.cells, args.seeds, args.epochs, args.samples)
    if args.only != "machine":
        bench_nodes(args.nodes, args.node_cells)


if __name__ == "__main__":
    main()
