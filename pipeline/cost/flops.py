"""What a model costs: parameters and multiply-accumulates per component, counted by fvcore.

fvcore counts only the explicit form of attention in full, so that form is traced. Each component is traced separately,
with zeros for weights, and cached: a table of twelve variants traces the encoder once. An operator that is neither
counted nor known to be free is an error, because an uncounted matrix product makes the model look cheap.

GMACs are multiply-accumulates / 1e9, which the paper prints as "GFLOPs".
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from pipeline import records
from sharedris.baselines.config import ComparedDecoderConfig, ComparedFpnConfig, ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import NoTargetConfig
from sharedris.encoder import Streams
from sharedris.errors import InputError
from sharedris.layers import explicit_attention
from sharedris.model import SharedRis
from sharedris.registry import FUSIONS

COMPONENTS = ("embedding", "encoder", "fpn", "decoder", "head")
"""The parts that add up to a model; "encoder" is its layers, without the embedding. A no-target head is of "head"."""

FREE_OPERATORS = (
    *("add", "add_", "sub", "rsub", "mul", "mul_", "div", "div_", "neg", "pow", "sqrt", "exp", "sum", "mean", "max"),
    *("sigmoid", "softmax", "relu", "relu_", "gelu", "tanh", "clamp", "where", "masked_fill", "bitwise_not"),
    *("embedding", "index", "gather", "pad", "clone", "repeat", "expand_as", "unflatten", "ones_like", "zeros_like"),
    *("linspace", "linalg_vector_norm", "clamp_min", "argmax", "one_hot", "roll", "lift_fresh", "gt", "ne"),
    *("max_pool2d", "adaptive_max_pool2d", "pixel_unshuffle"),
)
"""Uncounted and harmless: elementwise work, reductions and copies, which the paper's numbers leave out as well."""


class UncountedOperatorError(RuntimeError):
    """The traced model runs an operator that the counter leaves out and that is not known to be free."""


@dataclass(frozen=True, kw_only=True)
class ComponentCost:
    """Cost of one component of one model, for one image and one sentence."""

    component: str
    million_params: float
    gmacs: float


def measure_cost(config: ComparedModelConfig) -> list[ComponentCost]:
    """Return the cost of each component at the config's own image size and T, batch 1.

    Raises:
        UncountedOperatorError: when an operator is neither counted nor known to be free.
    """
    if config.system.kind != "shared_ris":
        return list(_measure_system(config))
    judge = _no_target_cost(config)
    config = dataclasses.replace(config, no_target=NoTargetConfig())
    no_fpn, no_decoder = ComparedFpnConfig(kind="none", stages=()), ComparedDecoderConfig(kind="none", layers=0)
    bare = dataclasses.replace(config, fpn=no_fpn, decoder=no_decoder)
    # Every decoder around a fusion module has the same head, so that it is traced once.
    shared = config.decoder.kind in {"none", *FUSIONS}
    head = bare if shared else dataclasses.replace(config, fpn=no_fpn)
    return [
        *_measure_encoder(bare),
        _measure_part("fpn", dataclasses.replace(config, decoder=no_decoder)),
        _measure_part("decoder", dataclasses.replace(config, fpn=no_fpn)),
        _sum_of(_measure_part("head", head), judge),
    ]


def _no_target_cost(config: ComparedModelConfig) -> ComponentCost:
    """Return what the config's no-target module adds; nothing without one."""
    if config.no_target.kind == "none":
        return ComponentCost(component="head", million_params=0.0, gmacs=0.0)
    side, tokens = config.logits_size, config.encoder.grid**2 + 1 + config.encoder.text_tokens
    module = _model_of_zeros(config).get_submodule("no_target")
    inputs = (torch.zeros(1, side, side), torch.zeros(1, tokens, config.width))
    return _cost("head", module, count_macs(_NoTargetTrace(module), inputs)["part"])


def _sum_of(cost: ComponentCost, added: ComponentCost) -> ComponentCost:
    return dataclasses.replace(
        cost, million_params=cost.million_params + added.million_params, gmacs=cost.gmacs + added.gmacs
    )


def measure_planned_cost(config: ComparedModelConfig) -> list[ComponentCost]:
    """Return the cost of each component, for a plan, which cannot be made without it.

    Raises:
        InputError: where a module of a plugin has an operator that cannot be counted or code that cannot be traced.
    """
    try:
        return measure_cost(config)
    except Exception as error:  # fvcore traces code that a plugin wrote
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"the cost of {config.variant} cannot be counted: {reason}", "A run needs no cost: start it without a plan"
        ) from None


class _EncoderTrace(nn.Module):
    """The encoder with plain tensors in and out, as a trace wants them."""

    def __init__(self, model: SharedRis) -> None:
        super().__init__()
        self.part = model.encoder

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor) -> Tensor:
        return self.part(image_BCHW, token_ids_BT)[-1].joined()


class _PartTrace(nn.Module):
    """FPN, decoder or head with plain tensors in and out."""

    def __init__(self, model: SharedRis, name: str) -> None:
        super().__init__()
        self.name = name
        self.part = model.get_submodule(name)
        self.outputs = model.config.encoder.layers + 1

    def forward(self, visual_BVD: Tensor, text_BTD: Tensor) -> Tensor:
        visual_tokens = int(visual_BVD.shape[1])
        if self.name == "fpn":
            return self.part([Streams(visual_BVD, text_BTD)] * self.outputs, None)
        tokens_BSW = torch.cat([visual_BVD, text_BTD], dim=1)
        return self.part(tokens_BSW, *([None] if self.name == "decoder" else []), visual_tokens)


class _NoTargetTrace(nn.Module):
    """The no-target module with plain tensors in and out."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, logits_BHW: Tensor, tokens_BSW: Tensor) -> Tensor:
        judged_BHW: Tensor = self.part(logits_BHW, tokens_BSW, None)
        return judged_BHW


@functools.lru_cache(maxsize=64)
def _measure_encoder(config: ComparedModelConfig) -> tuple[ComponentCost, ComponentCost]:
    model = _model_of_zeros(config)
    macs = count_macs(_EncoderTrace(model), example_inputs(config, 1))
    return _divided(model.encoder, macs["part"], macs["part.embedding"])


def _divided(encoder: nn.Module, macs: float, embedding_macs: float) -> tuple[ComponentCost, ComponentCost]:
    """Return the embedding, where the encoder has one as its module `embedding`, and everything else that it runs."""
    embedding = getattr(encoder, "embedding", None)
    embedded = 0 if embedding is None else _parameters(embedding)
    return (
        ComponentCost(component="embedding", million_params=embedded / 1e6, gmacs=embedding_macs / 1e9),
        ComponentCost(
            component="encoder",
            million_params=(_parameters(encoder) - embedded) / 1e6,
            gmacs=(macs - embedding_macs) / 1e9,
        ),
    )


@functools.lru_cache(maxsize=256)
def _measure_part(name: str, config: ComparedModelConfig) -> ComponentCost:
    model, encoder = _model_of_zeros(config), config.encoder
    width = encoder.width if name == "fpn" else config.width
    inputs = (torch.zeros(1, encoder.grid**2 + 1, width), torch.zeros(1, encoder.text_tokens, width))
    return _cost(name, model.get_submodule(name), count_macs(_PartTrace(model, name), inputs)["part"])


@functools.lru_cache(maxsize=16)
def _measure_system(config: ComparedModelConfig) -> tuple[ComponentCost, ...]:
    """Trace another paper's whole system at once: its parts exchange more than tokens.

    A system without a module `fpn`, `decoder` or `head` is counted with its encoder.
    """
    model = _model_of_zeros(config)
    macs = count_macs(model, example_inputs(config, 1))
    parts = {name: getattr(model, name, None) or nn.Identity() for name in ("fpn", "decoder", "head")}
    costs = [_cost(name, part, macs[name]) for name, part in parts.items()]
    if isinstance(getattr(model, "encoder", None), nn.Module) and all(hasattr(model, name) for name in parts):
        return *_divided(model.encoder, macs["encoder"], macs["encoder.embedding"]), *costs
    rest = _parameters(model) - sum(_parameters(part) for part in parts.values())
    rest_macs = macs[""] - sum(macs[name] for name in parts)
    embedding = ComponentCost(component="embedding", million_params=0.0, gmacs=0.0)
    return embedding, ComponentCost(component="encoder", million_params=rest / 1e6, gmacs=rest_macs / 1e9), *costs


def _cost(name: str, module: nn.Module, macs: float) -> ComponentCost:
    return ComponentCost(component=name, million_params=_parameters(module) / 1e6, gmacs=macs / 1e9)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _model_of_zeros(config: ComparedModelConfig) -> SharedRis:
    """Return the model with all weights zero; the meta device draws none. Tracing there fails on convolutions."""
    with torch.device("meta"):
        model = build_model(config).eval()
    zeros = {name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in model.state_dict().items()}
    model.load_state_dict(zeros, assign=True)
    return model


def example_inputs(config: ComparedModelConfig, batch: int) -> tuple[Tensor, Tensor]:
    """Return an image and a full sentence (T tokens, nothing padded) of the sizes that the config names."""
    encoder = config.encoder
    image_BCHW = torch.zeros(batch, 3, encoder.image_size, encoder.image_size)
    return image_BCHW, torch.zeros(batch, encoder.text_tokens, dtype=torch.int64)


def count_macs(model: nn.Module, inputs: tuple[Tensor, ...]) -> Counter[str]:
    """Return multiply-accumulates by module path ("" is all), with attention as explicit products.

    Raises:
        UncountedOperatorError: when an operator is neither counted nor known to be free.
    """
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    with explicit_attention(model), torch.no_grad():
        analysis = FlopCountAnalysis(model, inputs).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_module = analysis.by_module()
        uncounted = set(analysis.unsupported_ops()) - {f"aten::{name}" for name in FREE_OPERATORS}
    if uncounted:
        raise UncountedOperatorError(f"not counted, so the cost would be too low: {', '.join(sorted(uncounted))}")
    return by_module


def cost_frame(config: ComparedModelConfig, costs: Iterable[ComponentCost]) -> pd.DataFrame:
    """Return the rows of COST_SCHEMA, one per component."""
    return pd.DataFrame(
        [
            {
                "variant": config.variant,
                "scale": config.scale,
                "image_size": config.encoder.image_size,
                "text_tokens": config.encoder.text_tokens,
                "component": cost.component,
                "million_params": cost.million_params,
                "gmacs": cost.gmacs,
            }
            for cost in costs
        ]
    )


def write_costs(root: Path, configs: Iterable[ComparedModelConfig]) -> list[Path]:
    """Measure each config and write `ROOT/costs/SCALE/NAME.parquet`; the same variant twice is measured once.

    Returns:
        The files, one per distinct (scale, variant), in the order given.
    """
    paths: list[Path] = []
    for config in configs:
        path = records.cost_path(Path(root), config.scale, config.variant)
        if path not in paths:
            records.write_table(path, cost_frame(config, measure_cost(config)), records.COST_SCHEMA)
            paths.append(path)
    return paths
