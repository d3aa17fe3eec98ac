"""Modules that keep their contract pass; a module that breaks it is refused by name, and no random number is drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharedris import module_check, registry
from sharedris.baselines.config import ComparedModelConfig
from sharedris.config import FusionConfig, LossConfig
from sharedris.decoder import MaskHead, SharedDecoder
from sharedris.encoder import Encoder, Streams
from sharedris.errors import InputError
from sharedris.module_check import check_loss, check_model
from sharedris.registry import DECODERS, ENCODERS, FPNS, FUSIONS, LOSSES, SYSTEMS, EncoderKind
from sharedris.scales import tiny


class PlainFusion(nn.Module):
    """A fusion with nothing but what the contract asks for."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W)."""
        return self.linear(tokens_BSW)


class Narrow(PlainFusion):
    """Returns half of the channels."""

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W / 2)."""
        return super().forward(tokens_BSW, visible_B11S, visual_tokens)[..., ::2]


class Unused(PlainFusion):
    """Has a parameter that nothing reads."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__(width, config)
        self.spare = nn.Parameter(torch.zeros(3))


@pytest.fixture(autouse=True, params=[0, module_check._SMALL], ids=["meta", "cpu if small"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check on both devices: at their real sizes, the small models of these tests never meet the meta device."""
    monkeypatch.setattr(module_check, "_SMALL", request.param)


class Detached(PlainFusion):
    """Cuts the gradient of its own layer."""

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W)."""
        return tokens_BSW + super().forward(tokens_BSW, visible_B11S, visual_tokens).detach()


class NeedsValues(PlainFusion):
    """Reads a value, which the meta device does not have."""

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W)."""
        return super().forward(tokens_BSW, visible_B11S, visual_tokens) * max(1.0, float(tokens_BSW.detach().std()))


class Broken(PlainFusion):
    """Raises."""

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Raise."""
        raise KeyError("no such thing")


def with_fusion(config: ComparedModelConfig, monkeypatch: pytest.MonkeyPatch, fusion: Any) -> ComparedModelConfig:
    """Return the config with a new fusion in FPN and decoder."""
    monkeypatch.setitem(FUSIONS, "mine", fusion)
    return replace(config, fpn=replace(config.fpn, kind="mine"), decoder=replace(config.decoder, kind="mine"))


def shipped() -> dict[str, dict[str, dict[str, Any]]]:
    """Every module of the registry: part -> the fields that choose it."""
    fpns = {f"fpn {kind}": {"fpn": {"kind": kind, **_stages(kind)}} for kind in registry.fpn_kinds()}
    decoders = {
        f"decoder {kind}": {"decoder": {"kind": kind, "layers": 0 if kind == "none" else 1}}
        for kind in registry.decoder_kinds()
    }
    systems = {f"system {kind}": {"system": {"kind": kind}} for kind in registry.SYSTEMS}
    encoders = {f"encoder {name}": {"system": {"encoder": name}} for name in ENCODERS if name != "swin_bert"}
    dual = {"dual": {"system": {"kind": "cgformer", "encoder": "swin_bert"}}}
    return {**fpns, **decoders, **systems, **encoders, **dual}


def _stages(kind: str) -> dict[str, Any]:
    return {"none": {"stages": ()}, "cris": {"stages": (2, 3, 4)}}.get(kind, {})


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_module_keeps_its_contract(name: str) -> None:
    config = tiny()
    if name.startswith(("fpn", "decoder")):  # whose check takes a third of the time behind four layers
        encoder, fpn = replace(config.encoder, layers=4), replace(config.fpn, stages=(1, 2, 3, 4))
        config = replace(config, encoder=encoder, fpn=fpn)
    for part, fields in shipped()[name].items():
        config = replace(config, **{part: replace(getattr(config, part), **fields)})
    check_model(config)


def test_no_random_number_is_drawn(micro_model: ComparedModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = with_fusion(micro_model, monkeypatch, NeedsValues)  # on the CPU, where weights are drawn
    before = torch.get_rng_state()
    check_model(config)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fusion", [PlainFusion, NeedsValues])
def test_a_module_without_base_class_passes(
    micro_model: ComparedModelConfig, monkeypatch: pytest.MonkeyPatch, fusion: type
) -> None:
    check_model(with_fusion(micro_model, monkeypatch, fusion))


@pytest.mark.parametrize(
    ("fusion", "words"),
    [
        (Narrow, r"fusion 'mine' \(decoder.kind\) returns tokens of shape \(2, 37, 8\), not \(2, 37, 16\)"),
        (Unused, r"fusion 'mine' .* parameters without a gradient: spare \(contract: FusionModule\)"),
        (Detached, r"without a gradient: linear.weight, linear.bias"),
        (Broken, r"cannot be built or run: KeyError: 'no such thing' \(contract: FusionModule\)"),
        (lambda width, config: "no module", r"is a str, not an nn.Module"),
        (lambda width: nn.Identity(), r"cannot be built or run: TypeError"),
    ],
)
def test_a_fusion_that_breaks_its_contract_is_refused(
    micro_model: ComparedModelConfig, monkeypatch: pytest.MonkeyPatch, fusion: Any, words: str
) -> None:
    config = with_fusion(micro_model, monkeypatch, fusion)
    with pytest.raises(InputError, match=words):
        check_model(config)


class FewStages(Encoder):
    """Returns only the last stage."""

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> list[Streams]:
        """Return one stage."""
        return super().forward(image_BCHW, token_ids_BT, padding_BT)[-1:]


class FirstStage(nn.Module):
    """An FPN that forgets the text."""

    def __init__(self, config: ComparedModelConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.encoder.width, config.width)

    def forward(self, outputs: list[Streams], visible_B11S: Tensor | None) -> Tensor:
        """Return (B, V, W)."""
        return self.linear(outputs[0].visual_BVD)


class FlatHead(MaskHead):
    """Returns one row of logits."""

    def forward(self, tokens_BSW: Tensor, visual_tokens: int) -> Tensor:
        """Return (B, H * W)."""
        return super().forward(tokens_BSW, visual_tokens).flatten(1)


class NoConfig(nn.Module):
    """A system without its config."""

    def __init__(self, config: ComparedModelConfig) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3, 1, 1)

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> Tensor:
        """Return logits, (B, H, W)."""
        return self.linear(image_BCHW)[:, 0]


@pytest.mark.parametrize(
    ("registered", "value", "part", "field", "words"),
    [
        (ENCODERS, EncoderKind(build=lambda c: FewStages(c.encoder)), "system", "encoder", "returns 1 stages"),
        (FPNS, FirstStage, "fpn", "kind", r"FPN 'mine' \(fpn.kind\) returns tokens of shape \(2, 17, 16\)"),
        (DECODERS, lambda c: (SharedDecoder([]), FlatHead(c)), "decoder", "kind", r"logits of shape \(2, 256\)"),
        (SYSTEMS, NoConfig, "system", "kind", "system 'mine' .* has no attribute `config`"),
    ],
)
def test_every_kind_is_checked(
    micro_model: ComparedModelConfig,
    monkeypatch: pytest.MonkeyPatch,
    registered: dict[str, Any],
    value: Any,
    part: str,
    field: str,
    words: str,
) -> None:
    monkeypatch.setitem(registered, "mine", value)
    config = replace(micro_model, **{part: replace(getattr(micro_model, part), **{field: "mine"})})
    with pytest.raises(InputError, match=words):
        check_model(config)


def test_a_loss_term_is_a_scalar_with_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = {
        "good": lambda logits, mask: (logits.sigmoid() - mask).square().mean(),
        "map": lambda logits, mask: logits - mask,
        "constant": lambda logits, mask: mask.mean(),
    }
    for name, term in terms.items():
        monkeypatch.setitem(LOSSES, name, term)
    check_loss(LossConfig(terms=(("good", 0.5),)))
    with pytest.raises(InputError, match=r"loss term 'map' .* of shape \(2, 8, 8\), not \(\)"):
        check_loss(LossConfig(terms=(("good", 0.5), ("map", 1.0))))
    with pytest.raises(InputError, match=r"loss term 'constant'"):
        check_loss(LossConfig(terms=(("constant", 1.0),)))
