"""The compared modules in our framework run, train, ignore padding, and leave no parameter without a gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sharedris.attention_maps import forward_with_attention
from sharedris.baselines.cgformer_decoder import group_loss
from sharedris.baselines.config import (
    BertConfig,
    CgformerConfig,
    ComparedDecoderConfig,
    ComparedFpnConfig,
    ComparedModelConfig,
    CrisConfig,
    DmmiConfig,
    PwamConfig,
    SwinConfig,
    SystemConfig,
    VitdetConfig,
)
from sharedris.build import build_model
from sharedris.config import DecoderConfig, FpnConfig, FusionConfig, LossConfig, from_dict, to_dict
from sharedris.layers import explicit_attention
from sharedris.loss import segmentation_loss
from sharedris.model import SharedRis
from sharedris.scales import tiny

FUSION = FusionConfig(heads=2, mlp_width=32, bi_width=32, bi_heads=2)
CGFORMER = CgformerConfig(pyramid_widths=(32, 16, 8, 8), token_width=16, upsample_blocks=1)
DMMI = DmmiConfig(pyramid_widths=(32, 16, 8, 8), width=24, heads=2, mlp_width=32)
ODD = replace(CGFORMER, pyramid_widths=(30, 8, 8, 8))
SAME_WIDTH = replace(DMMI, width=16)
OURS = ComparedFpnConfig(stages=(1, 3), fusion=FUSION)
FPNS = {
    "cris": ComparedFpnConfig(kind="cris", stages=(1, 2, 3), fusion=FUSION, cris=CrisConfig(level_widths=(8, 16, 32))),
    "pwam": ComparedFpnConfig(kind="pwam", stages=(1, 3), fusion=FUSION, pwam=PwamConfig(heads=2)),
    "pwam without self-attention": ComparedFpnConfig(
        kind="pwam", stages=(1, 3), pwam=PwamConfig(keep_self_attention=False, gate=True)
    ),
}
DECODERS = {
    "cgformer": ComparedDecoderConfig(kind="cgformer", cgformer=CGFORMER),
    "cgformer without its loss": ComparedDecoderConfig(
        kind="cgformer", cgformer=replace(CGFORMER, group_loss=(0, 0, 0))
    ),
    "dmmi": ComparedDecoderConfig(kind="dmmi", dmmi=DMMI),
    "dmmi of the FPN's width": ComparedDecoderConfig(kind="dmmi", dmmi=SAME_WIDTH),
}
SWIN = SwinConfig(width=8, depths=(2, 2, 2, 2), heads=(1, 2, 2, 4), window=4, drop_path=0.0)
BERT = BertConfig(width=24, layers=2, heads=2, mlp_width=32, vocabulary_size=1024, positions=32)
DUAL = SystemConfig(kind="cgformer", encoder="swin_bert", swin=SWIN, bert=BERT, pwam_heads=2)
SINGLE = SystemConfig(kind="cgformer", stages=(1, 1, 2, 3))
SYSTEMS = {
    "vitdet": SystemConfig(kind="vitdet", vitdet=VitdetConfig(width=16, convolutions=2)),
    "full cgformer, swin+bert": DUAL,
    "full cgformer, beit3": SINGLE,
    "full dmmi, swin+bert": replace(DUAL, kind="dmmi"),
    "full dmmi, beit3": replace(SINGLE, kind="dmmi"),
    "full dmmi, beit3, no interaction": replace(SINGLE, kind="dmmi", interaction=False),
}
FROZEN = {  # parameters without a reader, by the start of their names
    "vitdet": "encoder.layers.2.text.",
    "full cgformer, swin+bert": "encoder.gates.3.",
    "full dmmi, swin+bert": "encoder.gates.3.",
    "full dmmi, beit3": "fpn.gates.3.",
}
CASES = [*FPNS, *DECODERS, *SYSTEMS]


@pytest.fixture
def make(micro_model: ComparedModelConfig):
    def configure(case: str) -> ComparedModelConfig:
        encoder = replace(micro_model.encoder, layers=3, drop_path=0.0)
        if case in SYSTEMS:
            # Swin's last map must have more than one position, for norms over them.
            encoder = replace(encoder, image_size=64 if "swin" in case else 32)
            # The options of both decoders; the system's kind decides which is read.
            decoder = replace(DECODERS["cgformer"], kind="self_attention", dmmi=DMMI)
            return replace(micro_model, encoder=encoder, fpn=OURS, decoder=decoder, system=SYSTEMS[case])
        parts = {"fpn": FPNS[case]} if case in FPNS else {"fpn": OURS, "decoder": DECODERS[case]}
        return replace(micro_model, encoder=encoder, **parts)

    return configure


def inputs(config: ComparedModelConfig, lengths: tuple[int, ...] = (5, 9, 7)) -> tuple[Tensor, Tensor, Tensor]:
    size = config.encoder.image_size
    torch.manual_seed(3)
    token_ids = torch.randint(4, config.encoder.vocabulary_size, (len(lengths), config.encoder.text_tokens))
    padding = torch.arange(config.encoder.text_tokens)[None] >= torch.tensor(lengths)[:, None]
    return torch.randn(len(lengths), 3, size, size), token_ids.masked_fill(padding, 1), padding


def training_loss(model: SharedRis, batch: tuple[Tensor, Tensor, Tensor], mask: Tensor) -> Tensor:
    loss = segmentation_loss(model(*batch), mask, LossConfig()).total
    auxiliary = model.pop_auxiliary_loss(mask)
    return loss if auxiliary is None else loss + auxiliary


@pytest.mark.parametrize("case", CASES)
def test_it_runs_and_every_parameter_gets_a_gradient(make, case: str) -> None:
    config = make(case)
    model = build_model(config).train()
    mask = torch.randint(0, 2, (3, *[config.encoder.image_size] * 2), dtype=torch.uint8)
    logits = model(*inputs(config))
    assert logits.shape == (3, config.logits_size, config.logits_size)
    training_loss(model, inputs(config), mask).backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
    assert all(parameter.grad.isfinite().all() for parameter in trained.values())
    frozen = {name for name, _ in model.named_parameters()} - set(trained)
    assert all(name.startswith(FROZEN[case]) for name in frozen)
    assert bool(frozen) is (case in FROZEN)


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_changes_little_and_trains(make, case: str) -> None:
    config = make(case)
    model = build_model(config).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = model(*inputs(config))
    with torch.no_grad():
        exact = model(*inputs(config))
    assert rounded.dtype == torch.float32
    # Norms over pixels enlarge rounding errors.
    tolerance = 0.4 if "pwam" in case or "swin" in case else 0.1
    assert (rounded - exact).abs().mean() < tolerance * exact.std()
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(*inputs(config))
    mask = torch.ones(3, *[config.encoder.image_size] * 2)
    loss, auxiliary = segmentation_loss(logits, mask, LossConfig()).total, model.pop_auxiliary_loss(mask)
    (loss if auxiliary is None else loss + auxiliary).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("case", CASES)
def test_padding_and_its_ids_do_not_matter(make, case: str) -> None:
    config = make(case)
    model = build_model(config).eval()
    image, token_ids, padding = inputs(config)
    with torch.no_grad():
        together = model(image, token_ids, padding)
        torch.testing.assert_close(model(image, token_ids.masked_fill(padding, 17), padding), together)
        for index, length in enumerate((5, 9, 7)):
            alone = model(image[index, None], token_ids[index, None, :length], None)
            torch.testing.assert_close(alone[0], together[index], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_evaluation_is_deterministic_and_the_same_by_explicit_attention(make, case: str) -> None:
    config = make(case)
    model = build_model(config).eval()
    with torch.no_grad():
        logits = model(*inputs(config))
        assert torch.equal(model(*inputs(config)), logits)
        with explicit_attention(model):
            torch.testing.assert_close(model(*inputs(config)), logits, atol=1e-5, rtol=1e-4)
    assert model.pop_auxiliary_loss(torch.zeros(3, 32, 32)) is None


@pytest.mark.parametrize("case", CASES)
def test_the_sentence_decides_the_mask(make, case: str) -> None:
    config = make(case)
    torch.manual_seed(1)
    model = build_model(config).eval()
    image, token_ids, padding = inputs(config)
    same_image = image[:1].expand(3, -1, -1, -1)
    with torch.no_grad():
        logits = model(same_image, token_ids, padding)
    assert not torch.allclose(logits[0], logits[1], atol=1e-6)


WHOLE = [pytest.param(case, marks=pytest.mark.slow) for case in ("full dmmi, beit3", "full cgformer, swin+bert")]


@pytest.mark.parametrize("case", ["cris", "pwam", "cgformer", "dmmi", "vitdet", *WHOLE])
def test_a_few_steps_fit_a_batch(make, case: str) -> None:
    torch.manual_seed(0)
    config = make(case)
    model = build_model(config).train()
    mask = torch.zeros(3, *[config.encoder.image_size] * 2, dtype=torch.uint8)
    for index in range(3):
        mask[index, 8 * index : 8 * index + 16, 8:24] = 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = training_loss(model, inputs(config), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_an_auxiliary_loss_exists_once_per_forward_pass(make) -> None:
    mask = torch.ones(3, 32, 32)
    for case, expected in (("cgformer", True), ("cgformer without its loss", False), ("dmmi", True), ("pwam", False)):
        model = build_model(make(case)).train()
        assert model.pop_auxiliary_loss(mask) is None
        model(*inputs(make(case)))
        loss = model.pop_auxiliary_loss(mask)
        assert (loss is not None and float(loss.detach()) > 0) is expected
        assert model.pop_auxiliary_loss(mask) is None


@pytest.mark.parametrize("case", ["dmmi", "full dmmi, beit3", "full dmmi, swin+bert"])
def test_only_words_are_hidden(make, case: str) -> None:
    config = make(case)
    every_word = replace(config.decoder.dmmi, masked_words=1.0)
    model = build_model(replace(config, decoder=replace(config.decoder, dmmi=every_word))).train()
    given: list[tuple[Tensor, Tensor]] = []
    decoder = model.decoder.mask.decoder
    decoder.register_forward_pre_hook(lambda _, arguments: given.append((arguments[1], arguments[2])))
    model(*inputs(config))
    model(*inputs(config)[:2], None)  # nothing is padded
    all_used = (config.encoder.text_tokens,) * 3
    for (words_BTC, hidden_BTC), lengths in zip(given, ((5, 9, 7), all_used), strict=True):
        position = torch.arange(words_BTC.shape[1])  # the model trims columns that are padding in all samples
        end = torch.tensor(lengths)[:, None] - 1
        is_word_BT = (position > 0) & (position < end)
        assert (hidden_BTC[is_word_BT] == 0).all()
        assert torch.equal(hidden_BTC[~is_word_BT], words_BTC[~is_word_BT])  # class, end and padding
        assert words_BTC.abs().sum(dim=-1).all()


def test_the_group_loss_is_that_of_the_masks_token() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    maps = [torch.full((1, 3, side, side), -9.0) for side in (2, 4, 8)]
    maps[2][:, -1] = 18 * mask - 9
    level_losses = [float(group_loss(maps, mask, weights)) for weights in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert level_losses[2] < 0.01 < 0.6 < min(level_losses[:2])


def test_groups_are_sampled_in_training_and_their_mean_in_evaluation(make) -> None:
    torch.manual_seed(0)
    config = make("cgformer")
    model = build_model(config)
    decoder = model.decoder.mask.decoder
    pixels, tokens = torch.randn(2, 50, 16), torch.randn(2, 2, 16)
    _, groups = decoder.groupings[0](tokens, pixels)
    assert set(groups.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(groups.sum(dim=1), torch.ones(2, 50))
    groups[:, 1].sum().backward()
    assert decoder.groupings[0].query.weight.grad.abs().sum() > 0  # through the soft assignment
    assert not torch.equal(decoder.groupings[0](tokens, pixels)[1], decoder.groupings[0](tokens, pixels)[1])
    draws = torch.stack([decoder.groupings[0](tokens, pixels)[1].detach() for _ in range(2000)])
    decoder.eval()
    shares = decoder.groupings[0](tokens, pixels)[1]
    assert torch.equal(shares, decoder.groupings[0](tokens, pixels)[1])
    torch.testing.assert_close(shares, draws.mean(dim=0), atol=0.06, rtol=0)
    assert shares.std() > 0.01


def test_only_parts_with_a_class_token_row_have_attention_maps(make) -> None:
    for case, components in (
        ("cris", {"encoder", "decoder"}),
        ("pwam", {"encoder", "fpn", "decoder"}),
        ("pwam without self-attention", {"encoder", "decoder"}),
        ("cgformer", {"encoder", "fpn"}),
        ("dmmi", {"encoder", "fpn"}),
        ("vitdet", {"encoder"}),
        ("full dmmi, beit3", {"encoder"}),
        ("full dmmi, swin+bert", set()),
    ):
        model = build_model(make(case)).eval()
        maps = forward_with_attention(model, *inputs(make(case)))[1]
        assert set(maps) == components
        assert all(map_BGG.shape == (3, 4, 4) for map_BGG in maps.values())


@pytest.mark.parametrize("case", CASES)
def test_config_survives_json_and_names_the_variant(make, case: str) -> None:
    config = make(case)
    assert from_dict(ComparedModelConfig, to_dict(config)) == config
    with pytest.raises(ValueError, match="unknown field"):
        from_dict(ComparedFpnConfig, {**to_dict(config.fpn), "KINDS": ("none",)})
    if case in SYSTEMS:
        system = SYSTEMS[case]
        assert config.variant == f"{'swin+bert' if 'swin' in case else 'beit3'}|whole={system.kind}"
        return
    assert config.variant.split("|")[1 if case in FPNS else 2].split("=")[1].startswith(case.partition(" ")[0] + "(")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda: ComparedFpnConfig(kind="cris"), "fpn.stages"),
        (lambda: FpnConfig(kind="criss", stages=(1, 2, 3)), "fpn.kind.*did you mean 'cris'"),
        (lambda: DecoderConfig(kind="dmmy"), "decoder.kind.*did you mean 'dmmi'"),
        (lambda: tiny(fpn=FpnConfig()), "fpn: must be a ComparedFpnConfig"),
        (lambda: tiny(decoder=DecoderConfig()), "decoder: must be a ComparedDecoderConfig"),
        (lambda: CrisConfig(level_widths=(1, 2)), "fpn.cris.level_widths"),
        (lambda: CgformerConfig(group_tokens=1), "group_tokens"),
        (lambda: CgformerConfig(dropout=1.0), "dropout"),
        (lambda: CgformerConfig(group_loss=(0.1, 0.1)), "decoder.cgformer.group_loss"),
        (lambda: SystemConfig(kind="mask2former"), "system.kind"),
        (lambda: SystemConfig(encoder="clip"), "system.encoder"),
        (lambda: SystemConfig(kind="vitdet", encoder="swin_bert"), "system.encoder"),
        (lambda: SystemConfig(stages=(3, 6)), "system.stages"),
        (lambda: tiny(system=SystemConfig(kind="dmmi", stages=(3, 6, 9, 13))), "system.stages"),
        (lambda: tiny(encoder=replace(tiny().encoder, image_size=72), system=DUAL), "encoder.image_size"),
        (lambda: VitdetConfig(convolutions=0), "system.vitdet.convolutions"),
        (lambda: DmmiConfig(heads=7), "decoder.dmmi.heads"),
        (lambda: build_model(tiny(decoder=ComparedDecoderConfig(kind="cgformer", cgformer=ODD))), "pyramid_widths"),
    ],
)
def test_invalid_options_are_named(change, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        change()
