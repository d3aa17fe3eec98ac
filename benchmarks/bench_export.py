"""Size, speed and equality of every exported form of a trained model, and the score that 8 bits cost.

    python benchmarks/bench_export.py --run RUN                 a run below runs/, with its prepared set
    python benchmarks/bench_export.py --run RUN --split SET/val

Prints Markdown and writes benchmarks/results/export.md. Run it under `flock` where others measure on the same machine.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402

from pipeline.cli.export import first_split  # noqa: E402
from pipeline.cli.model_folder import find_model_folder  # noqa: E402
from pipeline.evaluation.split_samples import split_of_model  # noqa: E402
from pipeline.model_export.export import FORMATS, ExportRequest, Form, export_model, table  # noqa: E402
from sharedris.checkpoint import load_model  # noqa: E402


def main() -> None:
    """Export to each format, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--prepared", default="data/prepared")
    parser.add_argument("--split")
    args = parser.parse_args()
    saved = load_model(find_model_folder(args.run, args.runs))
    split = args.split or first_split(args.runs, saved.run_id)
    dataset = split_of_model(args.prepared, split, saved)
    forms: list[Form] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        for kind in reversed(FORMATS):  # onnx first: its model is scored too
            request = ExportRequest(path=Path(folder) / f"m.{kind}", kind=kind, dataset=dataset, int8=kind == "onnx")
            found = export_model(saved, request)
            forms += found[1:] if forms else found
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "onnxruntime"))
    text = "\n".join(
        [
            "# Exported forms of a trained model",
            "",
            f"Printed by `python benchmarks/bench_export.py --run {saved.run_id}`: {saved.config.scale} model, "
            f"{saved.config.variant.replace('|', ' ')}, {len(dataset)} samples of {split}.",
            "",
            f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {versions}; "
            f"load {load:.1f} at the start. The best time of about a second of forward passes.",
            "",
            table(forms),
            "",
        ]
    )
    print(text)
    (HERE / "results" / "export.md").write_text(text)


if __name__ == "__main__":
    main()
