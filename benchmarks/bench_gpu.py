"""Speed, MFU, memory and kernels of one GPU: training steps, evaluation, attention over padded text, the data loader.

    python benchmarks/bench_gpu.py --write                 # on a GPU; writes benchmarks/results/gpu.md
    python benchmarks/bench_gpu.py --device cpu --scale tiny --parts step,casts   # to see that it works

Everything is measured in this process, after a step or a forward that loads libraries. Peak memory is what torch's
allocator held; the plan is `train --plan --memory`. `casts` needs no GPU: it is traced on the meta device.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402

from pipeline.cost.devices import peak_flops  # noqa: E402
from pipeline.cost.step_timing import StepShape, make_step  # noqa: E402
from pipeline.cost.step_trace import DeviceKind, trace_forward, trace_step  # noqa: E402
from pipeline.cost.utilization import model_flops_utilization, model_gmacs  # noqa: E402
from pipeline.data.dataset.refer_dataset import ReferDataset  # noqa: E402
from pipeline.data.dataset.train_loader import TrainLoader, loader_processes  # noqa: E402
from pipeline.data.prepared.prepare import prepare_source  # noqa: E402
from pipeline.data.readers.refer import read_refer  # noqa: E402
from pipeline.data.synthetic.writer import write_synthetic  # noqa: E402
from pipeline.precision import autocast, numerics, weights_cast_once  # noqa: E402
from sharedris.build import build_model  # noqa: E402
from sharedris.config import Float32Products, Precision  # noqa: E402
from sharedris.cuda_kernels import has_flash  # noqa: E402
from sharedris.kernels import use_kernels  # noqa: E402
from sharedris.layers import FusedAttention  # noqa: E402
from sharedris.scales import SCALES  # noqa: E402

SET = "toyplus_unc"
RECIPES: tuple[tuple[Precision, Float32Products], ...] = (
    ("bf16", "float32"), ("fp16", "float32"), ("fp32", "tf32"), ("fp32", "float32"),
)  # fmt: skip
WANTED_MFU, WANTED_IMAGES = 0.5, 2000


def median_seconds(work: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Return the median time of a call, waited for; the first two are not counted."""
    seconds = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def bench_step(device: torch.device, scale: str, batch: int) -> str:
    """Time optimizer steps of one forward in each precision, with and without checkpointing, against peak and plan."""
    model, rows = SCALES[scale](), []
    kind: DeviceKind = "cuda" if device.type == "cuda" else "cpu"
    for precision, products in RECIPES:
        if device.type == "cpu" and products == "tf32":
            continue
        for checkpointing in (False, True):
            shape = StepShape(model=model, micro_batch_size=batch, precision=precision, checkpointing=checkpointing)
            with numerics(products, deterministic=False):
                step = make_step(shape, device)
                step()
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                seconds = median_seconds(step, device, 10 if device.type == "cuda" else 3)
            mfu = model_flops_utilization(
                gmacs=model_gmacs(model),
                samples_per_second=batch / seconds,
                workers=1,
                device=device,
                precision=precision,
                tf32=products == "tf32",
            )
            planned = trace_step(
                model, micro_batch_size=batch, precision=precision, checkpointing=checkpointing, device=kind
            ).peak
            peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
            rows.append(
                [
                    precision + (" with TF32" if products == "tf32" else ""),
                    "yes" if checkpointing else "no",
                    f"{1000 * seconds:.0f}",
                    f"{batch / seconds:.1f}",
                    "unknown" if mfu is None else f"{mfu:.0%}",
                    "not measured" if peak is None else f"{peak / 2**30:.2f}",
                    f"{planned / 2**30:.2f}",
                ]
            )
            del step
    head = ["precision", "checkpointing", "ms a step", "samples/s", "MFU", "peak GiB", "planned GiB"]
    goal = f"Goal on an H100: {WANTED_MFU:.0%} MFU in bf16 (base, 480 pixels)."
    return f"### Training step, {scale}, {batch} samples\n\n{goal}\n\n{table(head, rows)}"


def bench_compile(device: torch.device, scale: str, batch: int, precision: Precision) -> str:
    """Time forward, loss and backward with and without torch.compile."""
    from pipeline.config import TrainConfig
    from pipeline.training.model_with_loss import ModelWithLoss

    model = build_model(SCALES[scale]()).train().to(device)
    use_kernels(model)
    trained = ModelWithLoss(model, TrainConfig(precision=precision))
    inputs = example_batch(scale, batch, device)
    mask = torch.zeros(batch, *inputs[0].shape[2:], dtype=torch.uint8, device=device)

    def forward_and_backward() -> None:
        trained(*inputs, mask).total.backward()
        model.zero_grad(set_to_none=True)

    repeats = 10 if device.type == "cuda" else 3
    eager = median_seconds(forward_and_backward, device, repeats)
    started = time.perf_counter()
    trained.compile(fullgraph=True)
    forward_and_backward()
    first = time.perf_counter() - started
    compiled = median_seconds(forward_and_backward, device, repeats)
    rows = [["eager", f"{1000 * eager:.0f}", ""], ["compiled", f"{1000 * compiled:.0f}", f"{eager / compiled:.2f}"]]
    text = f"The first compiled step took {first:.0f} s."
    title = f"### torch.compile, {scale}, {batch} samples, {precision}, forward and backward"
    return f"{title}\n\n{text}\n\n{table(['step', 'ms', 'times as fast'], rows)}"


def bench_evaluation(device: torch.device, scale: str) -> str:
    """Time forward passes in evaluation, with weights that are cast once."""
    model = build_model(SCALES[scale]()).eval().to(device)
    use_kernels(model)
    rows = []
    for precision in ("bf16", "fp16", "fp32"):
        for batch in (1, 8, 32):
            inputs = example_batch(scale, batch, device)
            with torch.no_grad(), weights_cast_once(device):

                def forward(precision: Precision = precision, inputs: list[torch.Tensor] = inputs) -> None:
                    with autocast(precision, device):
                        model(*inputs)

                seconds = median_seconds(forward, device, 20 if device.type == "cuda" else 2)
            rows.append([precision, batch, f"{1000 * seconds:.1f}", f"{batch / seconds:.0f}"])
    goal = f"Goal on an H100: {WANTED_IMAGES} images/s (base, 480 pixels). Without loading and scoring."
    head = ["precision", "samples a forward", "ms", "images/s"]
    return f"### Evaluation, {scale}\n\n{goal}\n\n{table(head, rows)}"


def bench_attention(device: torch.device) -> str:
    """Time attention over padded text of the base model by the model's module, and by torch's with the mask."""
    module = torch.nn.Sequential(torch.nn.Linear(1, 1, device=device), FusedAttention())
    use_kernels(module)
    batch, heads, tokens, width = (14, 12, 921, 64) if device.type == "cuda" else (1, 2, 921, 64)
    visible = (torch.arange(tokens) < tokens - torch.arange(batch)[:, None])[:, None, None, :].to(device)
    rows = []
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        operands = [
            torch.randn(batch, tokens, heads, width, device=device, dtype=dtype).transpose(1, 2).requires_grad_()
            for _ in range(3)
        ]
        times = [
            median_seconds(
                lambda attend=attend, operands=operands: attend(*operands, visible).sum().backward(), device, 10
            )
            for attend in (module[1], FusedAttention())
        ]
        rows.append([str(dtype).removeprefix("torch."), *(f"{1000 * seconds:.2f}" for seconds in times)])
    kernel = "varlen_attn's flash kernel in half precision" if has_flash(device) else "torch's fused attention"
    head = ["operands", f"model's module ({kernel}), ms", "torch's fused attention with the mask, ms"]
    title = f"### Attention over padded text, forward and backward, {batch} x {heads} x {tokens} x {width}"
    return f"{title}\n\n{table(head, rows)}"


def bench_loader(device: torch.device, scale: str, batch: int) -> str:
    """Count images that the loader gives per second, by its number of processes."""
    encoder = SCALES[scale]().encoder
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder / "refer", SET, expressions=1200, seed=0)
        prepare_source(read_refer(folder / "refer", SET), str(folder / "prepared"))
        dataset = ReferDataset(
            str(folder / "prepared"), f"{SET}/train", image_size=encoder.image_size, text_tokens=encoder.text_tokens
        )
        for workers in sorted({0, 1, 4, loader_processes(None, device)}):
            loader = TrainLoader(
                dataset, batch_size=batch, rank=0, world_size=1, seed=0, workers=workers, for_gpu=device.type == "cuda"
            )
            list(loader.epoch(0))  # processes start, and files are in the page cache
            started = time.perf_counter()
            images = sum(len(loaded) for loaded in loader.epoch(1))
            rows.append([workers, f"{images / (time.perf_counter() - started):.0f}"])
    title = f"### Data loader at {encoder.image_size} pixels (default here: {loader_processes(None, device)} processes)"
    return f"{title}\n\n{table(['processes', 'images/s'], rows)}"


def bench_casts(scale: str) -> str:
    """Count the kernels of a GPU's forward pass in evaluation, the first and a later one; on the meta device."""
    rows = []
    for kept in (False, True):
        kernels = trace_forward(SCALES[scale](), keeps_casts=kept)
        casts = sum(kernel.name == "_to_copy" for kernel in kernels)
        rows.append(["kept from the forward before" if kept else "of every forward", len(kernels), casts])
    title = f"### Kernels of a forward pass in bf16, {scale}, traced"
    return f"{title}\n\n{table(['casts of weights', 'kernels', 'of them casts'], rows)}"


def example_batch(scale: str, batch: int, device: torch.device) -> list[torch.Tensor]:
    """Return images, ids and padding: sentences of 4 to 20 tokens."""
    encoder = SCALES[scale]().encoder
    side, tokens = encoder.image_size, encoder.text_tokens
    lengths = 4 + torch.arange(batch)[:, None] % (tokens - 3)
    images = torch.zeros(batch, 3, side, side, device=device)
    ids = torch.full((batch, tokens), 5, device=device)
    return [images, ids, (torch.arange(tokens) >= lengths).to(device)]


def table(head: list[str], rows: list[list[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def heading(device: torch.device) -> str:
    """Return what was measured on: device, versions, date, and the peak that MFU refers to."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU (no GPU was measured)"
    peak = peak_flops(device, "bf16")
    known = "not in the table of devices" if peak is None else f"{peak / 1e12:.3g} TFLOP/s"
    day = datetime.now(UTC).date().isoformat()
    return f"# `make bench-gpu`\n\n{name}, torch {torch.__version__}, {day}. Peak of products in bf16: {known}.\n"


def main() -> None:
    """Print the tables of the parts that were asked for, and write them where a GPU was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="step,compile,evaluation,attention,loader,casts")
    parser.add_argument("--scale", default="base", choices=sorted(SCALES))
    parser.add_argument("--batch", type=int, default=14)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp16", "fp32"], help="of the compile part")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/gpu.md")
    args = parser.parse_args()
    device = torch.device(args.device, 0) if args.device == "cuda" else torch.device("cpu")
    parts = {
        "step": lambda: bench_step(device, args.scale, args.batch),
        "compile": lambda: bench_compile(device, args.scale, args.batch, args.precision),
        "evaluation": lambda: bench_evaluation(device, args.scale),
        "attention": lambda: bench_attention(device),
        "loader": lambda: bench_loader(device, args.scale, args.batch),
        "casts": lambda: bench_casts(args.scale),
    }
    if args.write and device.type != "cuda":
        parser.error("--write needs a GPU: the file holds what a GPU measured")
    texts = [heading(device)]
    print(texts[0])
    for part in args.parts.split(","):
        texts.append(parts[part]())
        print(texts[-1], flush=True)
    if args.write:
        (HERE / "results" / "gpu.md").write_text("\n".join(texts))


if __name__ == "__main__":
    main()
