"""The compared modules and their authors' code give the same numbers for the same weights.

The files under tests/golden/baselines are made by tests/golden/make_baselines.py, which names where the code is from.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from sharedris.baselines.cgformer_decoder import CgformerDecoder
from sharedris.baselines.config import CgformerConfig, DmmiConfig
from sharedris.baselines.cris_fpn import CrisNeck
from sharedris.baselines.dmmi_decoder import DmmiDecoder
from sharedris.baselines.dmmi_interaction import DmmiInteraction
from sharedris.baselines.pwam import LanguageGate, Pwam

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "baselines"
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}

CRIS = {
    "txt_proj.0": "state",
    "txt_proj.1": "state_norm",
    "f1_v_proj": "high_in",
    "norm_layer.0": "high_norm",
    "f2_v_proj": "middle_in",
    "f2_cat": "middle_join",
    "f3_v_proj": "low_in",
    "f3_cat": "low_join",
    "f4_proj5": "high_out",
    "f4_proj4": "middle_out",
    "f4_proj3": "low_out",
    "aggr": "join",
    "coordconv.0.conv1": "place",
    "coordconv.1": "out",
}
PWAM = {
    "vis_project.0": "pixels",
    "image_lang_att.f_query.0": "query",
    "image_lang_att.f_key.0": "key",
    "image_lang_att.f_value.0": "value",
    "image_lang_att.W.0": "read",
    "project_mm.0": "out",
}
CGFORMER = {
    "tokens.weight": "tokens",
    "proj.vis.1.0": "blocks.0.convolution",
    "proj.vis.1.1": "blocks.0.norm",
    "proj.vis.3.0": "blocks.1.convolution",
    "proj.vis.3.1": "blocks.1.norm",
    "proj.vis.4": "out",
    "proj.txt": "filter",
}
for level in range(3):
    CGFORMER[f"layers.{level}.positional_embedding"] = f"positions.{level}"
    for theirs, ours in (("0", "0.0"), ("1", "0.1"), ("3", "1.0"), ("4", "1.1")):
        CGFORMER[f"fuses.{level}.fusion.{theirs}"] = f"joins.{level}.{ours}"
READER = {"normq": "token_norm", "normk": "text_norm", "cross_attn.q_proj": "query", "cross_attn.k_proj": "key"}
READER |= {"cross_attn.v_proj": "value", "cross_attn.proj": "out"}
GROUPING = {"norm_v": "pixel_norm", "norm_t": "token_norm", "q_proj": "query", "k_proj": "key", "v_proj": "value"}
GROUPING |= {"proj": "out", "norm": "mlp_norm", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3", "tau": "temperature"}
for index in range(2):
    CGFORMER |= {f"layers.{index + 1}.loadtoken.{old}": f"readers.{index}.{new}" for old, new in READER.items()}
    CGFORMER[f"layers.{index + 1}.norm"] = f"readers.{index}.mlp_norm"
    CGFORMER |= {f"layers.{index + 1}.mlp.fc{n}": f"readers.{index}.mlp.{3 * n - 3}" for n in (1, 2)}
    CGFORMER |= {f"cgattention{index + 1}.{old}": f"groupings.{index}.{new}" for old, new in GROUPING.items()}
CROSS_LAYER = {
    "self_attn.in_proj_": "own.qkv.",
    "self_attn.out_proj": "own.out",
    "multihead_attn.in_proj_": "other.qkv.",
    "multihead_attn.out_proj": "other.out",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm1": "norms.0",
    "norm2": "norms.1",
    "norm3": "norms.2",
}
DMMI = {"conv1_1": "out", "lan_func.conv1": "image_to_text.pixels.0", "lan_func.bn1": "image_to_text.pixels.1"}
for index, level in enumerate((4, 3, 2)):
    DMMI |= {f"conv{step}_{level}": f"joins.{index}.{step - 1}.0" for step in (1, 2)}
    DMMI |= {f"bn{step}_{level}": f"joins.{index}.{step - 1}.1" for step in (1, 2)}
for theirs, ours in (
    ("transformer_fusion1", "layers.0"),
    ("transformer_fusion2", "layers.1"),
    ("lan_func", "image_to_text.layer"),
):
    DMMI |= {f"{theirs}.transformer_model.layers.0.{old}": f"{ours}.{new}" for old, new in CROSS_LAYER.items()}
for index in range(2):
    DMMI[f"crossfuse{index + 1}.linear"] = f"image_to_text.vectors.{index}"
INTERACTION = {
    "module.vis_project.0": "pixels",
    "module.project_mm.0": "out",
    "module.image_lang_att.f_value.0": "word_value",
    "module.image_lang_att.f_value_v.0": "pixel_value",
    "module.image_lang_att.W.0": "read_words",
    "module.image_lang_att.W2.0": "read_pixels",
    "module.image_lang_att.vis_weight": "word_weights",
    "module.image_lang_att.lan_weight": "pixel_weights",
    "W_l.0": "text_out",
}
for index, (of_pixels, of_words) in enumerate((("11", "11"), ("33", "21"), ("55", "31"))):
    for theirs, ours in (("f_key.0", "key"), ("f_query.0", "squeeze"), ("f_query2.0", "look")):
        INTERACTION[f"module.image_lang_att.refineimg{of_pixels}.{theirs}"] = f"from_words.{index}.{ours}"
        INTERACTION[f"module.image_lang_att.refinelan{of_words}.{theirs}"] = f"from_pixels.{index}.{ours}"


def split(content: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}."): tensor for name, tensor in content.items() if name.startswith(f"{part}.")}


def load_theirs(ours: nn.Module, weights: dict[str, Tensor], names: dict[str, str]) -> set[str]:
    """Load their weights into our module under our names; return the names that were not read."""
    longest_first = sorted(names, key=len, reverse=True)
    state, unread = {}, set()
    for name, tensor in weights.items():
        prefix = next((p for p in longest_first if name.startswith(p)), None)
        if prefix is None:
            unread.add(name)
            continue
        own = names[prefix] + name.removeprefix(prefix)
        state[own] = tensor.reshape(ours.state_dict()[own].shape) if own in ours.state_dict() else tensor
    missing, unexpected = ours.load_state_dict(state, strict=False)
    assert unexpected == []
    assert [name for name in missing if "num_batches_tracked" not in name and "align" not in name] == []
    ours.eval()
    return unread


def read(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    content = load_file(GOLDEN / f"{name}.safetensors")
    return split(content, "weights"), split(content, "input"), split(content, "output")


@torch.no_grad()
def test_neck_of_cris() -> None:
    weights, given, expected = read("cris")
    neck = CrisNeck((6, 10, 12), 12, (4, 8, 16))
    assert load_theirs(neck, weights, CRIS) == set()
    map_BCHW = neck(given["low"], given["middle"], given["high"], given["state"])
    torch.testing.assert_close(map_BCHW, expected["map"], **TOLERANCE)
    assert map_BCHW.std() > 0.1


@torch.no_grad()
def test_pwam_and_its_gate() -> None:
    weights, given, expected = read("pwam")
    module, gate = Pwam(16, 12, heads=2), LanguageGate(16)
    assert load_theirs(module, split(weights, "module"), PWAM) == set()
    assert load_theirs(gate, split(weights, "gate"), {"0": "squeeze", "2": "open"}) == set()
    common = module(given["pixels"], given["words"], given["used"].bool()[:, None, None])
    torch.testing.assert_close(common, expected["common"], **TOLERANCE)
    torch.testing.assert_close(gate(common), expected["gated"], **TOLERANCE)


@torch.no_grad()
def test_decoder_of_cgformer() -> None:
    weights, given, expected = read("cgformer")
    options = CgformerConfig(pyramid_widths=(16, 8, 8, 4), token_width=8, evaluation_noise=True)
    decoder = CgformerDecoder(options, text_width=12, grid=4)
    unread = load_theirs(decoder, weights, CGFORMER)
    assert {re.sub(r"\d", "#", name) for name in unread} == {  # their LoadToken has an MLP that it never calls
        f"layers.#.loadtoken.{name}"
        for name in ("norm.weight", "norm.bias", *(f"mlp.fc#.{kind}" for kind in ("weight", "bias")))
    }
    # The golden file has their code without its noise: Gumbel's is 0 where the uniform number is 1 / e.
    with patch("sharedris.draws.RandomModule.uniform", lambda _, size, device, **__: torch.full(size, math.exp(-1))):
        result = decoder([given[f"map.{i}"] for i in range(4)], given["words"], given["used"].bool()[:, None])
    for index, groups_BNHW in enumerate(result.maps_BNHW):
        torch.testing.assert_close(groups_BNHW, expected[f"groups.{index}"], **TOLERANCE)
        assert 0 < groups_BNHW[:, 1].mean() < 1
    # Their 1x1 filter runs with padding 1: a frame of one pixel that is only the bias.
    torch.testing.assert_close(result.logits_BHW, expected["logits"][:, 1:-1, 1:-1], **TOLERANCE)


@torch.no_grad()
def test_decoder_of_dmmi_with_both_branches() -> None:
    weights, given, expected = read("dmmi")
    options = DmmiConfig(pyramid_widths=(16, 8, 4, 2), width=16, mlp_width=24)
    decoder = DmmiDecoder(options)
    unread = load_theirs(decoder, weights, DMMI)
    # nn.TransformerDecoder copies its layer; their code keeps the original as well.
    assert all(".decoder_layer." in name for name in unread)
    assert len({name.split(".")[0] for name in unread}) == 3
    result = decoder([given[f"map.{i}"] for i in range(4)], given["words"], given["hidden"], None)
    torch.testing.assert_close(result.logits_B2HW, expected["logits"], **TOLERANCE)
    torch.testing.assert_close(result.text_BTC, expected["words"], **TOLERANCE)
    torch.testing.assert_close(result.image_BC, expected["vector"], **TOLERANCE)


@torch.no_grad()
def test_interaction_of_dmmi_both_ways() -> None:
    weights, given, expected = read("interaction")
    module = DmmiInteraction(12, 16)
    assert load_theirs(module, weights, INTERACTION) == set()
    common, words = module(given["pixels"], given["words"], None)
    torch.testing.assert_close(common, expected["common"], **TOLERANCE)
    torch.testing.assert_close(words, expected["words"], **TOLERANCE)


@torch.no_grad()
def test_interaction_of_dmmi_with_padding() -> None:
    weights, _, _ = read("interaction")
    _, given, expected = read("interaction_padded")
    module = DmmiInteraction(12, 16)
    load_theirs(module, weights, INTERACTION)
    used_BT = given["used"].bool()
    common, words = module(given["pixels"], given["words"], used_BT[:, None])
    # Their pixels ignore padding; of their words only the last reads it: its phrase of three includes the position
    # after it. Ours repeats the last word there, which gives their result for padding that repeats it.
    before_last_BT = used_BT & functional.pad(used_BT[:, 1:], (0, 1))
    for case, compared_BT in (("random", before_last_BT), ("repeated", used_BT)):
        torch.testing.assert_close(common, expected[f"{case}.common"], **TOLERANCE)
        torch.testing.assert_close(words[compared_BT], expected[f"{case}.words"][compared_BT], **TOLERANCE)
    at_last_BT = used_BT & ~before_last_BT
    assert not torch.allclose(words[at_last_BT], expected["random.words"][at_last_BT], atol=1e-3)
