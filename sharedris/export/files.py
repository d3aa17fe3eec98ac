"""Write a graph as a `.pt2` or `.onnx` file, smaller in 8 bits on request, and run such a file like the model.

onnx, onnxscript and onnxruntime are in the extra `export`; they are imported where they are needed.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from sharedris.errors import InputError
from sharedris.export.graph import INPUTS, ExportError, dynamic_shapes, quiet_export

OPSET = 20
"""The oldest set of operators that has GELU and affine grids; onnxruntime 1.17 and onnxruntime-web read it."""

_QUANTIZED = ("MatMul", "Gemm")
"""Products of weights; convolutions in 8 bits are slower than in 32 on most CPUs."""


def need(library: str) -> Any:
    """Return a library of the extra `export`.

    Raises:
        InputError: when it is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise InputError(
            f"{library.split('.', maxsplit=1)[0]} cannot be imported ({error})", "In the clone: pip install '.[export]'"
        ) from None


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write torch's own format; `torch.export.load(path).module()` runs it without this project."""
    with quiet_export():
        torch.export.save(program, path)


def read_program(path: Path) -> nn.Module:
    """Return a written program as a module: (pixels, token ids, padding) -> (logits, ...)."""
    with quiet_export():
        return torch.export.load(path).module()


def write_onnx(program: ExportedProgram, path: Path, *, outputs: Sequence[str], notes: Mapping[str, str]) -> None:
    """Write an ONNX file; weights above 2 GB go into a second file next to it, as the format asks for.

    Args:
        program: of `export_graph`.
        path: the file to write.
        outputs: their names.
        notes: metadata that the file carries, for example the run's id and threshold.

    Raises:
        ExportError: when an operator has no form in ONNX; names it.
        InputError: when onnx or onnxscript is not installed.
    """
    for library in ("onnx", "onnxscript"):
        need(library)
    try:
        with quiet_export():
            written = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(INPUTS),
                output_names=list(outputs),
                dynamic_shapes=dynamic_shapes(),
            )
    except Exception as error:  # the exporter raises many types
        lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
        raise ExportError(
            f"the model has no form in ONNX: {lines[0] if lines else type(error).__name__}", "Use --format torch-export"
        ) from error
    assert written is not None
    _clean(written.model, notes)
    written.save(path)


def _clean(model: Any, notes: Mapping[str, str]) -> None:
    """Drop where each operator came from, which names paths of this machine and takes a tenth of the file."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.metadata_props.update(notes)
    model.producer_name = "shared-ris"


def write_int8(source: Path, path: Path) -> None:
    """Write an ONNX file with its products in 8 bits: weights are stored so, activations are measured at each call.

    Raises:
        InputError: when onnxruntime or onnx is not installed.
    """
    need("onnx")
    quantization = need("onnxruntime.quantization")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a pre-processing that the exporter has done, by the root logger
    try:
        quantization.quantize_dynamic(
            source,
            path,
            op_types_to_quantize=list(_QUANTIZED),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )
    finally:
        root.setLevel(level)


class OnnxModel(nn.Module):
    """An ONNX file that runs like the module it was made from, by onnxruntime on the CPU.

    Args:
        path: the file.
        threads: of one operator.

    Raises:
        InputError: when onnxruntime is not installed.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        super().__init__()
        runtime = need("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return logits, (B, H, W), and the maps, (B, G, G)."""
        feeds: dict[str, np.ndarray] = {name: tensor.cpu().numpy() for name, tensor in zip(INPUTS, inputs, strict=True)}
        return tuple(torch.from_numpy(values) for values in self.session.run(None, feeds))
