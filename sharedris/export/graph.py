"""The whole model as one graph without Python: pixels and ids in, mask logits out, any batch size and text length.

Shapes: B batch, C 3 colors, S side of the input, T text tokens, H = W side of the logit map, G side of the patch grid.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sharedris.attention_maps import COMPONENTS, forward_with_attention, shows_attention
from sharedris.config import ModelConfig
from sharedris.errors import InputError
from sharedris.model import SharedRis

INPUTS = ("pixels", "token_ids", "padding")
"""uint8 (B, 3, S, S), int64 (B, T), bool (B, T): a resized image, ids of its sentence, True at padding."""

OUTPUT = "logits"
"""float32 (B, H, W): mask logits. `attention_NAME`, float32 (B, G, G), follows for each component that has a map."""

_EXAMPLE_BATCH, _EXAMPLE_TOKENS, _SHORTEST = 3, 7, 3
_POSITIONS_BEFORE_TEXT = 2


class ExportError(InputError):
    """A model that cannot be exported; the message names its variant."""


class PixelsToMask(nn.Module):
    """The model behind the normalization of pixels, in evaluation mode.

    Args:
        model: as `load_model` returns it.
        attention: also return the attention maps.
    """

    def __init__(self, model: SharedRis, *, attention: bool = False) -> None:
        super().__init__()
        self.model = model.eval()
        self.attention = attention

    @property
    def outputs(self) -> list[str]:
        """Names of what `forward` returns, in order."""
        shown = [name for name in COMPONENTS if shows_attention(self.model, name)] if self.attention else []
        return [OUTPUT, *(f"attention_{name}" for name in shown)]

    def forward(self, pixels_BCSS: Tensor, token_ids_BT: Tensor, padding_BT: Tensor) -> tuple[Tensor, ...]:
        """Return logits, (B, H, W), and the maps, (B, G, G), in the order of `outputs`."""
        image_BCSS = pixels_BCSS.to(torch.float32) * (1 / 127.5) - 1.0
        if not self.attention:
            return (self.model(image_BCSS, token_ids_BT, padding_BT),)
        logits_BHW, maps = forward_with_attention(self.model, image_BCSS, token_ids_BT, padding_BT)
        return logits_BHW, *maps.values()


def example_inputs(config: ModelConfig, batch: int, tokens: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return random pixels, ids and padding; sentences have different lengths, the first fills all tokens."""
    generator = torch.Generator().manual_seed(seed)
    size = config.encoder.image_size
    pixels_BCSS = torch.randint(256, (batch, 3, size, size), dtype=torch.uint8, generator=generator)
    token_ids_BT = torch.randint(4, config.vocabulary_size, (batch, tokens), generator=generator)
    lengths_B = torch.randint(_SHORTEST, tokens + 1, (batch,), generator=generator)
    lengths_B[0] = tokens
    return pixels_BCSS, token_ids_BT, torch.arange(tokens)[None] >= lengths_B[:, None]


def dynamic_shapes(text: Dim | str = "text") -> tuple[dict[int, Dim | str], ...]:
    """Return the names of the dynamic sides of the three inputs."""
    batch: Dim | str = Dim("batch") if isinstance(text, Dim) else "batch"
    return {0: batch}, {0: batch, 1: text}, {0: batch, 1: text}


def export_graph(model: SharedRis, *, attention: bool = False) -> ExportedProgram:
    """Return the model's graph, with a dynamic batch size and text length.

    Raises:
        ExportError: when a module of the model cannot be traced; names the variant and torch's reason.
    """
    config = model.config
    text = Dim("text", min=_SHORTEST, max=config.encoder.text_positions - _POSITIONS_BEFORE_TEXT)
    example = example_inputs(config, _EXAMPLE_BATCH, min(_EXAMPLE_TOKENS, config.encoder.text_tokens))
    module = PixelsToMask(model, attention=attention)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:  # a graph for inference: torch would else add operators for gradients
        parameter.requires_grad_(False)
    try:
        with quiet_export(), torch.no_grad():
            program = torch.export.export(module, example, dynamic_shapes=dynamic_shapes(text))
    except Exception as error:  # torch raises many types for code that it cannot trace
        raise ExportError(
            f"the model {config.variant} cannot be exported: {_first_line(error)}",
            "Its module needs a form that torch.export traces",
        ) from error
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
    for node in program.graph.nodes:  # paths of this machine do not belong into a file that others open
        for name in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(name, None)
    return program


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def quiet_export() -> Iterator[None]:
    """Hide the exporters' remarks about their own internals while the block lasts."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
