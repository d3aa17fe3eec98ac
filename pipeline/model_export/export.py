"""Export a trained model, check the file on samples, and measure it next to the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from pipeline.data.dataset.refer_dataset import ReferDataset
from pipeline.files import staged_folder
from pipeline.model_export.comparison import (
    LARGEST_LOGIT_DIFFERENCE,
    TIMED_BATCHES,
    Comparison,
    compare,
    milliseconds_per_sample,
    size_mib,
)
from pipeline.model_export.samples import CheckBatch, batches_of_split, random_batches
from pipeline.model_export.split_score import split_scores
from sharedris.checkpoint import WEIGHTS, SavedModel
from sharedris.errors import InputError
from sharedris.export.files import OnnxModel, need, read_program, write_int8, write_onnx, write_program
from sharedris.export.graph import ExportError, PixelsToMask, export_graph

FORMATS = ("torch-export", "onnx")


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to write, and on what to check it.

    Attributes:
        path: the file; 8 bits are written next to it as `NAME.int8.onnx`.
        kind: one of FORMATS.
        attention: attention maps as further outputs.
        int8: also write the products in 8 bits (onnx only).
        dataset: split of the check and of the scores; None checks on random inputs.
        samples: at most as many are compared.
    """

    path: Path
    kind: str
    attention: bool = False
    int8: bool = False
    dataset: ReferDataset | None = None
    samples: int = 100

    def __post_init__(self) -> None:
        if self.int8 and self.kind != "onnx":
            raise InputError("8 bits are of onnxruntime", "Use --format onnx with --int8")
        if self.int8 and self.dataset is None:
            raise InputError("the score that 8 bits cost needs a split", "Name one: --split SET/SPLIT")

    @property
    def int8_path(self) -> Path:
        """The file of 8 bits."""
        return self.path.with_suffix(".int8.onnx")


@dataclass(frozen=True, kw_only=True)
class Form:
    """A row of the table: a model in one form.

    Attributes:
        name: of the form.
        mib: of its file.
        milliseconds: per sample, by batch size.
        comparison: with the model; None for the model itself.
        scores: oIoU and mIoU of the split, where they were asked for.
    """

    name: str
    mib: float
    milliseconds: dict[int, float] = field(default_factory=dict)
    comparison: Comparison | None = None
    scores: tuple[float, float] | None = None


def export_model(saved: SavedModel, request: ExportRequest) -> list[Form]:
    """Write the files of a request, and return what was measured: the model, then each file.

    Raises:
        ExportError: when the model cannot be exported, or its file answers otherwise than the model; no file is
            written then.
        InputError: when a library of the extra `export` is missing.
    """
    if request.kind == "onnx":
        for library in ("onnx", "onnxscript", "onnxruntime"):
            need(library)
    model = PixelsToMask(saved.model, attention=request.attention)
    eager = PixelsToMask(saved.model)
    forms = [_measured("model (eager)", eager, saved, request, saved.tokenizer_path.with_name(WEIGHTS))]
    program = export_graph(saved.model, attention=request.attention)
    with staged_folder(request.path.absolute().parent) as folder:
        path = folder / request.path.name
        if request.kind == "onnx":
            write_onnx(program, path, outputs=model.outputs, notes=_notes(saved))
            exported: nn.Module = OnnxModel(path)
        else:
            write_program(program, path)
            exported = read_program(path)
        forms.append(_measured(request.kind, exported, saved, request, path, eager))
        _require_equal(forms[-1], saved)
        if request.int8:
            write_int8(path, folder / request.int8_path.name)
            forms.append(
                _measured(
                    "onnx, int8",
                    OnnxModel(folder / request.int8_path.name),
                    saved,
                    request,
                    folder / request.int8_path.name,
                    eager,
                )
            )
    return forms


def check_batches(saved: SavedModel, request: ExportRequest) -> Iterator[CheckBatch]:
    """Return the inputs of the check."""
    if request.dataset is None:
        return random_batches(saved, request.samples)
    return batches_of_split(request.dataset, request.samples)


def _measured(
    name: str, graph: nn.Module, saved: SavedModel, request: ExportRequest, path: Path, eager: nn.Module | None = None
) -> Form:
    dataset = request.dataset
    return Form(
        name=name,
        mib=size_mib(path),
        milliseconds={batch: milliseconds_per_sample(graph, saved.config, batch) for batch in TIMED_BATCHES},
        comparison=None if eager is None else compare(eager, graph, check_batches(saved, request), saved.threshold),
        scores=split_scores(graph, dataset, saved.threshold) if request.int8 and dataset is not None else None,
    )


def _require_equal(form: Form, saved: SavedModel) -> None:
    assert form.comparison is not None
    if not form.comparison.passes:
        raise ExportError(
            f"the {form.name} of {saved.config.variant} answers otherwise than the model: {form.comparison}, "
            f"bound {LARGEST_LOGIT_DIFFERENCE:g}",
            "Report it with the versions of torch and onnxruntime; use the model folder meanwhile",
        )


def _notes(saved: SavedModel) -> dict[str, str]:
    """Return what a program needs to use the file besides the tokenizer."""
    encoder = saved.config.encoder
    return {
        "run_id": saved.run_id,
        "variant": saved.config.variant,
        "threshold": str(saved.threshold),
        "image_size": str(encoder.image_size),
        "text_tokens": str(encoder.text_tokens),
    }


def table(forms: list[Form]) -> str:
    """Return the forms as a Markdown table."""
    scored = any(form.scores for form in forms)
    heads = ["form", "MiB", *(f"ms per sample, batch {batch}" for batch in TIMED_BATCHES), "largest logit difference"]
    heads += ["masks equal", *(["oIoU", "mIoU"] if scored else [])]
    lines = [f"| {' | '.join(heads)} |", f"|---{'|---:' * (len(heads) - 1)}|"]
    for form in forms:
        found = form.comparison
        cells = [form.name, f"{form.mib:.2f}", *(f"{form.milliseconds[batch]:.2f}" for batch in TIMED_BATCHES)]
        cells += [f"{found.logit_difference:.1e}", f"{found.equal_masks} of {found.samples}"] if found else ["", ""]
        if scored:
            cells += [f"{100 * value:.2f}" for value in form.scores] if form.scores else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
