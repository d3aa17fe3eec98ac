"""Swin and BERT are those of transformers, whose files they read; a file that does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sharedris.baselines.bert import Bert
from sharedris.baselines.bert_swin_weights import load_bert, load_swin
from sharedris.baselines.config import BertConfig, SwinConfig
from sharedris.baselines.swin import Swin
from sharedris.errors import InputError

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "baselines" / "encoders.safetensors"
SWIN = SwinConfig(width=8, depths=(2, 2, 2, 2), heads=(1, 2, 2, 4), window=4)
BERT = BertConfig(width=16, layers=2, heads=2, mlp_width=24, vocabulary_size=50, positions=16)


@torch.no_grad()
def test_swin_gives_the_maps_of_transformers() -> None:
    content = load_file(GOLDEN)
    swin = Swin(SWIN).eval()
    load_swin(swin, GOLDEN)
    pixels_BPC = swin.embed(content["input.image"])
    for index, stage in enumerate(swin.stages):
        for kind in ("weight", "bias"):  # a SwinModel does not have the norms of the maps
            getattr(stage.norm, kind).copy_(content[f"swin.hidden_states_norms.stage{index + 1}.{kind}"])
        pixels_BPC = swin.run_blocks(index, pixels_BPC, recompute=False)
        side = round(pixels_BPC.shape[1] ** 0.5)
        expected_BPC = content[f"output.map.{index}"].flatten(2).transpose(1, 2)
        assert side == [10, 5, 3, 2][index]  # windows of 4: padded, shifted, odd, and larger than the map
        torch.testing.assert_close(stage.norm(pixels_BPC), expected_BPC, atol=1e-5, rtol=1e-5)
        if stage.merge is not None:
            pixels_BPC = stage.merge(pixels_BPC, side)


@torch.no_grad()
def test_bert_gives_the_features_of_transformers() -> None:
    content = load_file(GOLDEN)
    bert = Bert(BERT).eval()
    load_bert(bert, GOLDEN)
    used = content["input.used"].bool()
    features = bert(content["input.ids"], ~used)
    torch.testing.assert_close(features[used], content["output.text"][used], atol=1e-5, rtol=1e-5)


def test_older_names_of_norms_are_read(tmp_path: Path) -> None:
    content = load_file(GOLDEN)
    older = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in content.items()
    }
    save_file(older, tmp_path / "older.safetensors")
    one, other = Bert(BERT), Bert(BERT)
    load_bert(one, GOLDEN)
    load_bert(other, tmp_path / "older.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_every_parameter_but_the_norms_of_maps_is_loaded() -> None:
    for module, load in ((Swin(SWIN), load_swin), (Bert(BERT), load_bert)):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(77.0)
        load(module, GOLDEN)
        untouched = {name for name, parameter in module.named_parameters() if bool((parameter == 77.0).all())}
        norms = {f"stages.{stage}.norm.{kind}" for stage in range(4) for kind in ("weight", "bias")}
        assert untouched == (norms if isinstance(module, Swin) else set())


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"word_embeddings.weight is \(50, 16\), which does not fit"):
        load_bert(Bert(replace(BERT, vocabulary_size=60)), GOLDEN)
    with pytest.raises(InputError, match=r"lacks encoder.layers.0.blocks.2.layernorm_before"):
        load_swin(Swin(replace(SWIN, depths=(3, 2, 2, 2))), GOLDEN)
    with pytest.raises(InputError, match="cannot be read"):
        load_bert(Bert(BERT), tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda: SwinConfig(depths=(2, 2)), "system.swin.depths"),
        (lambda: SwinConfig(heads=(3, 8, 16, 32)), "system.swin.heads"),
        (lambda: SwinConfig(window=1), "system.swin.window"),
        (lambda: BertConfig(heads=7), "system.bert.heads"),
    ],
)
def test_nonsense_is_refused_by_name(change, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        change()
