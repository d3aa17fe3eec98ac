"""An exported graph answers as the model for every batch size and text length; every ablation has one."""

from __future__ import annotations

import builtins
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.recipes import default_run
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.errors import InputError
from sharedris.export.files import OnnxModel, need, write_onnx
from sharedris.export.graph import ExportError, PixelsToMask, example_inputs, export_graph
from sweeps.registry import SWEEPS
from sweeps.spec import cells_of

SIZES = ((1, 3), (2, 20), (5, 30))


def shallow(model: ComparedModelConfig) -> ComparedModelConfig:
    """The same modules with a third of the layers, in a third of the time."""

    def third(stages: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(math.ceil(stage / 3) for stage in stages)

    return dataclasses.replace(
        model,
        encoder=dataclasses.replace(model.encoder, layers=4),
        fpn=dataclasses.replace(model.fpn, stages=third(model.fpn.stages)),
        system=dataclasses.replace(model.system, stages=third(model.system.stages)),
    )


def variants(sweep: str) -> dict[str, ComparedModelConfig]:
    """The models of a sweep at the tiny scale by their variant."""
    cells = cells_of(SWEEPS[sweep], lambda seed, _: default_run(seed=seed), (0,))
    return {cell.config.model.variant: shallow(cell.config.model) for cell in cells if cell.config is not None}


ABLATIONS = variants("ablations")
ALL = {**ABLATIONS, **variants("all"), **variants("no_target")}


@torch.inference_mode()
def largest_difference(model: nn.Module, exported: nn.Module, config: ComparedModelConfig) -> float:
    """The largest difference of an output over batches and text lengths other than the one that was traced."""
    gaps = []
    for batch, tokens in SIZES:
        inputs = example_inputs(config, batch, tokens, seed=batch)
        pairs = zip(model(*inputs), exported(*inputs), strict=True)
        gaps += [float((expected - found).abs().max()) for expected, found in pairs]
    return max(gaps)


@pytest.mark.slow  # 3 s and more of one core
def test_the_graph_answers_as_the_model_with_maps(micro_model: ComparedModelConfig) -> None:
    model = PixelsToMask(build_model(micro_model), attention=True)
    program = export_graph(model.model, attention=True)
    assert model.outputs == ["logits", "attention_encoder", "attention_fpn", "attention_decoder"]
    assert largest_difference(model, program.module(), micro_model) == 0
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any("stack_trace" in node.meta for node in program.graph.nodes)


class ReadsValues(nn.Module):
    """A module that no tracer can follow."""

    def forward(self, image: Tensor, *_: Tensor) -> Tensor:
        """Branch on a value."""
        return image if bool(image.sum() > 0) else -image


def test_a_model_that_cannot_be_traced_is_refused_by_name(micro_model: ComparedModelConfig) -> None:
    model = build_model(micro_model)
    model.encoder.embedding = ReadsValues()
    with pytest.raises(ExportError, match=r"the model beit3\|fpn=.* cannot be exported: \w+: "):
        export_graph(model)


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("onnx"):
            raise ImportError(f"No module named '{name}'")
        return real(name, *rest)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(InputError, match=r"onnxruntime cannot be imported.*pip install '.\[export\]'"):
        need("onnxruntime.quantization")


def test_there_are_sixteen_ablations() -> None:
    assert len(ABLATIONS) == 16


@pytest.mark.slow
@pytest.mark.parametrize("variant", ALL)
def test_every_model_exports_to_onnx(variant: str, tmp_path: Path) -> None:
    config = ALL[variant]
    model = PixelsToMask(build_model(config))
    write_onnx(export_graph(model.model), tmp_path / "m.onnx", outputs=model.outputs, notes={"variant": variant})
    exported = OnnxModel(tmp_path / "m.onnx")
    assert exported.session.get_inputs()[1].shape == ["batch", "text"]
    assert exported.session.get_modelmeta().custom_metadata_map["variant"] == variant
    assert largest_difference(model, exported, config) < 1e-4
    assert str(Path(__file__).parent.parent).encode() not in (tmp_path / "m.onnx").read_bytes()
