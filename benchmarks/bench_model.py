"""The encoder beside Microsoft's `torchscale.model.BEiT3`: same machine, weights and inputs, in one run.

    python benchmarks/bench_model.py            # 2 threads, batch 1 and 4, 480x480, T 20; minutes, about 12 GiB
    python benchmarks/bench_model.py --batches 1 --repeats 5

torchscale is no dependency: it is taken from the environment, or fetched once with pip (without its own dependencies)
into `build/torchscale`. It imports one function of timm and two of fairscale, which stubs provide here.
    python benchmarks/bench_model.py --threads 1 --clock cpu   # seconds of CPU time, for a machine that is shared

Seconds are the best of the repeats, the two models taking turns. On a busy machine they mean little: look at the load.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.cost.flops import measure_cost
from pipeline.cost.peak_memory import peak_memory_mib
from sharedris.beit3 import official_names
from sharedris.build import build_model
from sharedris.config import LossConfig
from sharedris.cpu_kernels import use_cpu_kernels
from sharedris.encoder import Encoder
from sharedris.loss import segmentation_loss
from sharedris.model import trim_padding
from sharedris.scales import base

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
clock = time.perf_counter

TORCHSCALE = "torchscale==0.3.0"
FOLDER = Path(__file__).resolve().parent.parent / "build" / "torchscale"
CONFIG = base().encoder
WORDS = (9, 6, 12, 7)
"""Tokens of the sentences; the rest up to T is padding, as in RefCOCO."""


def import_torchscale() -> Any:
    """Return torchscale's BEiT3 and EncoderConfig, fetched if need be."""
    if importlib.util.find_spec("torchscale") is None:
        if not FOLDER.exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(FOLDER)]
            subprocess.run([*command, TORCHSCALE], check=True)
        sys.path.insert(0, str(FOLDER))
    layers = types.ModuleType("timm.models.layers")
    layers.drop_path = lambda tokens, probability, training: tokens  # type: ignore[attr-defined]
    wrappers = types.ModuleType("fairscale.nn")
    wrappers.checkpoint_wrapper = wrappers.wrap = lambda module, *_, **__: module  # type: ignore[attr-defined]
    stubs = {"timm.models.layers": layers, "fairscale.nn": wrappers}
    for name in ("timm", "timm.models", "fairscale"):
        stubs[name] = types.ModuleType(name)
    for name, stub in stubs.items():
        sys.modules.setdefault(name, stub)
    from torchscale.architecture.config import EncoderConfig
    from torchscale.model.BEiT3 import BEiT3

    return BEiT3, EncoderConfig


def build_theirs() -> nn.Module:
    """Return torchscale's base model, configured as Microsoft's BEiT-3 code does."""
    model_class, config_class = import_torchscale()
    config = config_class(
        img_size=CONFIG.image_size,
        patch_size=CONFIG.patch_size,
        vocab_size=CONFIG.vocabulary_size,
        multiway=True,
        layernorm_embedding=False,
        normalize_output=True,
        no_output_layer=True,
        drop_path_rate=0.0,
        encoder_embed_dim=CONFIG.width,
        encoder_attention_heads=CONFIG.heads,
        encoder_ffn_embed_dim=CONFIG.mlp_width,
        encoder_layers=CONFIG.layers,
        max_source_positions=CONFIG.text_positions,
    )
    return model_class(config)


def build_ours(theirs: nn.Module | None = None) -> Encoder:
    """Return our encoder, with torchscale's weights."""
    encoder = Encoder(CONFIG, final_norm=True)
    use_cpu_kernels(encoder)
    for layer in encoder.layers:
        layer.drop_path = 0.0  # type: ignore[assignment]
    if theirs is not None:
        weights = theirs.state_dict()
        joined = {name: torch.cat([weights[one] for one in many]) for name, many in official_names(encoder).items()}
        encoder.load_state_dict(joined)
    return encoder


def inputs(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, ids and padding of a batch."""
    torch.manual_seed(batch)
    lengths = torch.tensor([WORDS[index % len(WORDS)] for index in range(batch)])
    padding = torch.arange(CONFIG.text_tokens)[None] >= lengths[:, None]
    token_ids = torch.randint(4, 64000, padding.shape).masked_fill(padding, 1)
    return torch.randn(batch, 3, CONFIG.image_size, CONFIG.image_size), token_ids, padding


def run_theirs(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return torchscale's output, (B, S, D)."""
    image, token_ids, padding = batch
    return model(token_ids, image, padding)["encoder_out"]


def run_ours(encoder: Encoder, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return our output for the same inputs; columns that no sample uses are left out, as the model does."""
    image, token_ids, padding = batch
    return encoder.normalize(encoder(image, *trim_padding(token_ids, padding))[-1]).joined()


Run = Callable[[Any, tuple[Tensor, Tensor, Tensor]], Tensor]


def one_pass(run: Run, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], kind: str, *, bf16: bool) -> float:
    """Return the seconds of a forward pass or of forward and backward."""
    started = clock()
    with torch.set_grad_enabled(kind == "training step"), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = run(model, batch)
    if kind == "training step":
        output.float().square().mean().backward()
        model.zero_grad(set_to_none=False)
    return clock() - started


def matrix_product_rate() -> float:
    """Return the GFLOP/s of torch's own float32 product, 4096 x 4096."""
    left, right = torch.randn(4096, 4096), torch.randn(4096, 4096)
    seconds = []
    for _ in range(4):
        started = clock()
        left @ right
        seconds.append(clock() - started)
    return 2 * 4096**3 / min(seconds) / 1e9


def compare(batches: list[int], repeats: int) -> None:
    """Print the table of ratios."""
    theirs = build_theirs()
    ours = build_ours(theirs)
    cost = {part.component: part.gmacs for part in measure_cost(base())}
    gmacs = cost["embedding"] + cost["encoder"]
    print(
        "| batch | pass | precision | torchscale, s | ours, s | ratio | ratio to torchscale fp32 | share of mm rate |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for size in batches:
        batch = inputs(size)
        _require_equal(theirs, ours, batch)
        for kind, passes in (("forward", 1), ("training step", 3)):
            baseline = float("nan")
            for bf16 in (False, True):
                seconds = _best_of(theirs, ours, batch, kind, repeats, bf16=bf16)
                baseline = baseline if bf16 else seconds[0]
                rate = 2 * gmacs * size * passes / seconds[1]
                share = "" if bf16 else f"{rate / matrix_product_rate():.0%}"
                print(
                    f"| {size} | {kind} | {'bf16' if bf16 else 'fp32'} | {seconds[0]:.2f} | {seconds[1]:.2f} "
                    f"| {seconds[0] / seconds[1]:.2f} | {baseline / seconds[1]:.2f} | {share} |",
                    flush=True,
                )


def _best_of(
    theirs: nn.Module, ours: Encoder, batch: tuple[Tensor, ...], kind: str, repeats: int, *, bf16: bool
) -> tuple[float, float]:
    pairs = []
    for _ in range(repeats + 1):  # the first warms up
        pairs.append(
            (
                one_pass(run_theirs, theirs, batch, kind, bf16=bf16),  # type: ignore[arg-type]
                one_pass(run_ours, ours, batch, kind, bf16=bf16),  # type: ignore[arg-type]
            )
        )
    return min(pair[0] for pair in pairs[1:]), min(pair[1] for pair in pairs[1:])


def _require_equal(theirs: nn.Module, ours: Encoder, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    with torch.no_grad():
        mine, official = run_ours(ours, batch), run_theirs(theirs, batch)
    used = ~batch[2][:, : mine.shape[1] - (CONFIG.grid**2 + 1)]
    visible = torch.cat([torch.ones(len(used), CONFIG.grid**2 + 1, dtype=torch.bool), used], dim=1)
    torch.testing.assert_close(mine[visible], official[:, : mine.shape[1]][visible], atol=1e-3, rtol=1e-3)


def measure_memory(which: str, size: int) -> None:
    """Print, as JSON, a training step's peak memory beyond weights and gradients, and its seconds."""
    theirs, batch = which == "torchscale", inputs(size)
    model: nn.Module = build_theirs() if theirs else build_ours()
    run: Run = run_theirs if theirs else run_ours
    if which == "ours, checkpointed":
        model.activation_checkpointing = True
    model.train()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter).add_(1e-9)  # touched, so that it is resident already
    with peak_memory_mib("cpu") as before:
        pass
    with peak_memory_mib("cpu") as peak:
        seconds = one_pass(run, model, batch, "training step", bf16=False)
    print(json.dumps({"mib": peak.mib - before.mib, "seconds": seconds}))


def memory_table(size: int) -> None:
    """Print the memory of each kind of training step, each in a process of its own."""
    print(f"\n| training step, batch {size}, fp32 | peak beyond weights and gradients, MiB | ratio | s |")
    print("|---|---|---|---|")
    first = float("nan")
    for which in ("torchscale", "ours", "ours, checkpointed"):
        command = [
            sys.executable,
            __file__,
            "--memory",
            which,
            "--batches",
            str(size),
            "--threads",
            str(torch.get_num_threads()),
        ]
        values = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        first = values["mib"] if which == "torchscale" else first
        row = f"{values['mib']:.0f} | {values['mib'] / first:.2f} | {values['seconds']:.1f}"
        print(f"| {which} | {row} |", flush=True)


def whole_model(repeats: int) -> None:
    """Print what the whole of Shared-RIS base takes, head included."""
    model, batch = build_model(base()), inputs(1)
    use_cpu_kernels(model)
    mask = torch.zeros(1, CONFIG.image_size, CONFIG.image_size, dtype=torch.uint8)
    seconds: dict[str, list[float]] = {"forward": [], "training step": []}
    for _ in range(repeats + 1):
        started = clock()
        with torch.inference_mode():
            model.eval()(*batch)
        seconds["forward"].append(clock() - started)
        started = clock()
        segmentation_loss(model.train()(*batch), mask, LossConfig()).total.backward()
        seconds["training step"].append(clock() - started)
    gmacs, rate = sum(part.gmacs for part in measure_cost(base())), matrix_product_rate()
    print("\n| Shared-RIS base, batch 1, fp32 | s | GFLOP/s | share of mm rate |\n|---|---|---|---|")
    for (kind, values), passes in zip(seconds.items(), (1, 3), strict=True):
        best = 2 * gmacs * passes / min(values[1:])
        print(f"| {kind} | {min(values[1:]):.2f} | {best:.0f} | {best / rate:.0%} |")


def main() -> None:
    """Parse arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: with --threads 1")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    global clock  # noqa: PLW0603 - one clock for the whole script
    clock = CLOCKS[args.clock]
    if args.memory:
        measure_memory(args.memory, args.batches[0])
        return
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} threads, torch {torch.__version__}; ", end="")
    print(
        f"load {load:.1f} at the start, {args.clock} seconds; torch.mm float32 {matrix_product_rate():.0f} GFLOP/s\n",
        flush=True,
    )
    compare(args.batches, args.repeats)
    memory_table(max(args.batches))
    whole_model(args.repeats)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
