"""Checks a model's modules against `sharedris/contracts.py` on two random samples, before anything is trained.

A large module is checked on the meta device: nothing is computed, and neither time nor memory depends on its size. A
small one is checked on the CPU, which computes it sooner, and so is one that needs values (it calls `.item()`, or makes
tensors on the CPU). Random generators are left as they were.

Shapes: B batch, V visual tokens, T text tokens, S = V + T, D encoder width, W width, H = W side of the logit map.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_decoder, build_encoder, build_fpn, build_fusion, build_model
from sharedris.config import LossConfig
from sharedris.encoder import Streams, visible_keys
from sharedris.errors import InputError
from sharedris.loss import pop_auxiliary_loss
from sharedris.registry import FUSIONS, LOSSES, resolve

_SMALL = 4_000_000
"""Parameters up to which the CPU computes a module sooner than the meta device dispatches its operators."""

_BATCH = 2
_REMEDY = "sharedris/contracts.py states what a module must provide"


class _ContractError(Exception):
    """A module broke its contract; the text says how."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One module to check: its name for messages, its contract, how it is built, and how it is run."""

    name: str
    contract: str
    build: Callable[[], nn.Module]
    run: Callable[[nn.Module], Tensor]


def check_model(config: ComparedModelConfig) -> None:
    """Check every module that the config names.

    Raises:
        InputError: for a module that cannot be built or run, whose output has another shape, or that has parameters
            without a gradient; names the module and the contract.
    """
    parts = _parts_of_ours(config) if config.system.kind == "shared_ris" else []
    for part in [*parts, _system(config)]:
        _check_part(part)


def check_loss(config: LossConfig) -> None:
    """Check every term that the config adds to the loss.

    Raises:
        InputError: for a term that cannot be computed, is not a scalar, or gives the logits no gradient.
    """
    for name, _ in config.terms:
        _check_part(_loss_term(name))


def _check_part(part: _Part) -> None:
    """Check a large module on the meta device; whatever fails there is checked on the CPU, whose error counts."""
    with contextlib.suppress(Exception):  # of any type: code that reads values fails in many ways on the meta device
        if _is_large(part):
            _check(part, "meta")
            return
    try:
        _check(part, "cpu")
    except InputError:
        raise
    except _ContractError as error:
        raise InputError(f"{part.name} {error} (contract: {part.contract})", _REMEDY) from None
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{part.name} cannot be built or run: {reason} (contract: {part.contract})", _REMEDY) from None


def _is_large(part: _Part) -> bool:
    with _generators_kept(), torch.device("meta"):
        return sum(parameter.numel() for parameter in part.build().parameters()) > _SMALL


def _check(part: _Part, device: str) -> None:
    with _generators_kept(), torch.device(device):
        module = part.build()
        if not isinstance(module, nn.Module):
            raise _ContractError(f"is a {type(module).__name__}, not an nn.Module")
        output = part.run(module.train())
        if output.requires_grad:
            torch.autograd.backward(output.sum())
        named = module.named_parameters()
        without = [name for name, parameter in named if parameter.requires_grad and parameter.grad is None]
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        raise _ContractError(f"has parameters without a gradient: {', '.join(without[:3])}{more}")


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        yield


def _expect(what: str, got: Any, shape: Sequence[int]) -> Tensor:
    """Return the output as a tensor of that shape; 0 stands for any size that equals the last one."""
    if not isinstance(got, Tensor):
        raise _ContractError(f"returns {type(got).__name__} for {what}, not a tensor")
    wanted = tuple(size or int(got.shape[-1]) for size in shape) if got.ndim else tuple(shape)
    if tuple(got.shape) != wanted:
        raise _ContractError(f"returns {what} of shape {tuple(got.shape)}, not {wanted}")
    return got


class _Inputs:
    """Random inputs of a config's sizes, on the current default device; the second sentence ends in padding."""

    def __init__(self, config: ComparedModelConfig) -> None:
        encoder = config.encoder
        self.visual, self.text = encoder.grid**2 + 1, encoder.text_tokens
        self.padding_BT = torch.zeros(_BATCH, self.text, dtype=torch.bool)
        self.padding_BT[1, -1] = True
        self.visible_B11S = visible_keys(self.padding_BT, self.visual)
        self.image_BCHW = torch.randn(_BATCH, 3, encoder.image_size, encoder.image_size)
        self.token_ids_BT = torch.full((_BATCH, self.text), 1)

    def tokens(self, width: int) -> Tensor:
        """Return joined tokens, (B, S, W)."""
        return torch.randn(_BATCH, self.visual + self.text, width)

    def stages(self, count: int, width: int) -> list[Streams]:
        """Return an encoder's outputs."""
        made = [self.tokens(width) for _ in range(count)]
        return [Streams(tokens[:, : self.visual], tokens[:, self.visual :]) for tokens in made]


def _parts_of_ours(config: ComparedModelConfig) -> list[_Part]:
    """Return the parts of our framework, from the smallest: a message names the innermost module that fails."""
    fusions = {config.fpn.kind: ("fpn", config.fpn.fusion), config.decoder.kind: ("decoder", config.decoder.fusion)}
    return [
        *(_fusion(config, kind, *where) for kind, where in fusions.items() if kind in FUSIONS),
        _encoder(config),
        _fpn(config),
        _decoder(config),
    ]


def _fusion(config: ComparedModelConfig, kind: str, part: str, options: Any) -> _Part:
    def run(module: nn.Module) -> Tensor:
        inputs = _Inputs(config)
        tokens_BSW = inputs.tokens(config.width)
        fused = module(tokens_BSW.clone(), inputs.visible_B11S, inputs.visual)
        return _expect("tokens", fused, tokens_BSW.shape)

    return _Part(
        name=f"fusion {kind!r} ({part}.kind)",
        contract="FusionModule",
        build=lambda: build_fusion(kind, config.width, options),
        run=run,
    )


def _encoder(config: ComparedModelConfig) -> _Part:
    encoder = config.encoder

    def run(module: nn.Module) -> Tensor:
        inputs = _Inputs(config)
        outputs = module(inputs.image_BCHW, inputs.token_ids_BT, inputs.padding_BT)
        if len(outputs) != encoder.layers + 1:
            raise _ContractError(f"returns {len(outputs)} stages, not encoder.layers + 1 = {encoder.layers + 1}")
        for stage in outputs:
            _expect("visual tokens", stage.visual_BVD, (_BATCH, inputs.visual, encoder.width))
            _expect("text tokens", stage.text_BTD, (_BATCH, inputs.text, encoder.width))
        joined: Tensor = outputs[-1].joined()
        return joined

    name = f"encoder {config.system.encoder!r} (system.encoder)"
    return _Part(name=name, contract="Encoder", build=lambda: build_encoder(config), run=run)


def _fpn(config: ComparedModelConfig) -> _Part:
    def run(module: nn.Module) -> Tensor:
        inputs = _Inputs(config)
        outputs = inputs.stages(config.encoder.layers + 1, config.encoder.width)
        tokens = module(outputs, inputs.visible_B11S)
        return _expect("tokens", tokens, (_BATCH, inputs.visual + inputs.text, config.width))

    name = f"FPN {config.fpn.kind!r} (fpn.kind)"
    return _Part(name=name, contract="Fpn", build=lambda: build_fpn(config), run=run)


def _decoder(config: ComparedModelConfig) -> _Part:
    def run(module: nn.Module) -> Tensor:
        inputs, (decoder, head) = _Inputs(config), module.children()
        decoded = decoder(inputs.tokens(config.width), inputs.visible_B11S, inputs.visual)
        logits_BHW = _expect("logits", head(decoded, inputs.visual), (_BATCH, 0, 0))
        return _with_auxiliary(decoder, logits_BHW, config)

    name = f"decoder {config.decoder.kind!r} with its head (decoder.kind)"
    return _Part(name=name, contract="Decoder and Head", build=lambda: nn.ModuleList(build_decoder(config)), run=run)


def _system(config: ComparedModelConfig) -> _Part:
    def run(module: nn.Module) -> Tensor:
        inputs = _Inputs(config)
        if getattr(module, "config", None) != config:
            raise _ContractError("has no attribute `config` with the config that it was built from")
        logits = module(inputs.image_BCHW, inputs.token_ids_BT, inputs.padding_BT)
        logits_BHW = _expect("logits", logits, (_BATCH, 0, 0))
        return _with_auxiliary(module, logits_BHW, config)

    name = f"system {config.system.kind!r} (system.kind)"
    return _Part(name=name, contract="System", build=lambda: build_model(config), run=run)


class _Logits(nn.Module):
    """Logits as a parameter: a loss term must give them a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.logits_BHW = nn.Parameter(torch.zeros(_BATCH, 8, 8))


def _loss_term(name: str) -> _Part:
    def run(module: nn.Module) -> Tensor:
        (logits_BHW,) = module.parameters()
        return _expect("the loss", resolve(LOSSES[name])(logits_BHW * 1.0, torch.ones(_BATCH, 8, 8)), ())

    return _Part(name=f"loss term {name!r} (train.loss.terms)", contract="LossTerm", build=_Logits, run=run)


def _with_auxiliary(module: nn.Module, logits_BHW: Tensor, config: ComparedModelConfig) -> Tensor:
    """Return the sum of the logits and of the auxiliary loss, for parameters that only this loss trains."""
    side = config.encoder.image_size
    extra = pop_auxiliary_loss(module, torch.zeros(_BATCH, side, side, dtype=torch.uint8))
    return logits_BHW.sum() if extra is None else logits_BHW.sum() + extra
