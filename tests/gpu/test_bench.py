"""`make bench-gpu` runs; on the CPU with the smallest parts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_bench_prints_its_tables(device: torch.device) -> None:
    parts = "step,evaluation,attention,loader,casts" if device.type == "cuda" else "attention,casts"
    command = [sys.executable, "benchmarks/bench_gpu.py", "--device", device.type, "--scale", "tiny", "--parts", parts]
    done = subprocess.run([*command, "--batch", "4"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("###") == len(parts.split(","))
    # How many kernels surround the casts depends on the processor: those without bf16 instructions skip two.
    every, kept = re.findall(r"\| (?:of every forward|kept from the forward before) \| (\d+) \| (\d+) \|", done.stdout)
    assert (every[1], kept[1]) == ("411", "167")
    assert int(every[0]) - int(kept[0]) == 411 - 167


def test_the_file_of_results_is_only_written_on_a_gpu(device: torch.device) -> None:
    if device.type == "cuda":
        pytest.skip("the file is written by make bench-gpu")
    command = [sys.executable, "benchmarks/bench_gpu.py", "--device", "cpu", "--write"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "--write needs a GPU" in done.stderr) == (2, True)
