"""Import and export of official weights: names, resizing, and an error for whatever does not fit."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from sharedris.baselines.config import ComparedModelConfig
from sharedris.beit3 import VISUAL_POSITIONS, load_beit3, official_names, resize_positions, to_official
from sharedris.build import build_model
from sharedris.config import EncoderConfig
from sharedris.encoder import Encoder
from sharedris.errors import InputError
from sharedris.scales import SCALES

SMALL = EncoderConfig(width=16, layers=2, heads=2, mlp_width=32, patch_size=8, image_size=32, vocabulary_size=50)
HEADS = {
    "mlm_head.weight": torch.zeros(3),
    "logit_scale": torch.zeros(()),
    "beit3.vision_embed.mask_token": torch.ones(1),
}
NAMES = Path(__file__).parent.parent / "golden"


def official(**changes: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return to_official(Encoder(SMALL)) | changes


@pytest.mark.parametrize("scale", ["base", "large"])
def test_names_and_shapes_are_torchscales(scale: str) -> None:
    lines = (NAMES / f"beit3_{scale}_names.txt").read_text().splitlines()
    golden = dict(line.split() for line in lines)
    with torch.device("meta"):
        config = dataclasses.replace(SCALES[scale]().encoder, image_size=224)
        encoder = Encoder(config, final_norm=True)
    ours = {}
    parameters = dict(encoder.named_parameters())
    for name, officials in official_names(encoder).items():
        shape = parameters[name].shape
        for one in officials:
            ours[one] = "x".join(str(side) for side in (shape[0] // len(officials), *shape[1:]))
    assert golden.pop("vision_embed.mask_token")  # the only one that this model does not use
    assert ours == golden


@pytest.mark.parametrize("prefix", ["", "beit3."])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_round_trip(tmp_path: Path, prefix: str, suffix: str, *, wrapped: bool) -> None:
    weights = {prefix + name: tensor for name, tensor in official().items()} | (HEADS if prefix else {})
    path = tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"model": weights} if wrapped else weights, path)
    encoder = Encoder(SMALL)
    report = load_beit3(encoder, path)
    assert (report.missing, report.unexpected, report.resized) == ((), (), ())
    assert len(report.ignored) == (len(HEADS) if prefix else 0)
    assert len(report.matched) == len(official())
    for name, tensor in to_official(encoder).items():
        assert torch.equal(tensor, official()[name]), name


def test_a_complete_model_loads_them_too(tmp_path: Path, micro_model: ComparedModelConfig) -> None:
    torch.manual_seed(2)
    source, target = build_model(micro_model), build_model(micro_model)
    save_file(to_official(source.encoder), tmp_path / "weights.safetensors")
    load_beit3(target, tmp_path / "weights.safetensors")
    for (name, ours), theirs in zip(source.encoder.named_parameters(), target.encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(("old", "new"), [(14, 30), (30, 14), (4, 5)])
def test_positions_are_resized_bicubic_and_the_first_rows_kept(old: int, new: int) -> None:
    table = torch.randn(old**2 + 3, 6)
    resized = resize_positions(table, new)
    assert torch.equal(resized[:3], table[:3])
    for channel in range(6):
        want = functional.interpolate(table[3:, channel].view(1, 1, old, old), size=(new, new), mode="bicubic")
        torch.testing.assert_close(resized[3:, channel].view(new, new), want[0, 0])


def test_loading_at_another_size_reports_the_resize(tmp_path: Path) -> None:
    save_file(official(), tmp_path / "weights.safetensors")
    encoder = Encoder(dataclasses.replace(SMALL, image_size=48))
    report = load_beit3(encoder, tmp_path / "weights.safetensors")
    assert report.resized == (VISUAL_POSITIONS,)
    want = resize_positions(official()[VISUAL_POSITIONS], 6)
    assert torch.equal(encoder.embedding.visual_positions.detach(), want)


def broken(kind: str) -> dict[str, Tensor]:
    weights = official()
    if kind == "missing":
        del weights["encoder.layers.1.ffn.B.fc2.bias"]
    elif kind == "unexpected":
        weights["encoder.layers.2.ffn.B.fc2.bias"] = torch.zeros(16)
    elif kind == "shape":
        weights["text_embed.weight"] = torch.zeros(49, 16)
    elif kind == "nan":
        weights["encoder.layers.0.ffn.A.fc1.weight"][3, 3] = float("nan")
    elif kind == "square":
        weights[VISUAL_POSITIONS] = torch.zeros(18, 16)
    return weights


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "lacks encoder.layers.1.ffn.B.fc2.bias"),
        ("unexpected", "unexpected encoder.layers.2.ffn.B.fc2.bias"),
        ("shape", r"text_embed.weight is \(49, 16\), not \(50, 16\)"),
        ("nan", "not finite in encoder.layers.0.ffn.A.fc1.weight"),
        ("square", "not a square grid"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_loads_nothing(tmp_path: Path, kind: str, message: str) -> None:
    save_file(broken(kind), tmp_path / "weights.safetensors")
    encoder = Encoder(SMALL)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_beit3(encoder, tmp_path / "weights.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps(print), pickle.dumps({"a": 1})])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_files_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="weights"):
        load_beit3(Encoder(SMALL), path)
    with pytest.raises(InputError, match="cannot be read"):
        load_beit3(Encoder(SMALL), tmp_path / f"nowhere.{suffix}")


def test_a_dictionary_of_other_things_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"epoch": 3}}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="no dictionary of tensors"):
        load_beit3(Encoder(SMALL), tmp_path / "weights.pth")
