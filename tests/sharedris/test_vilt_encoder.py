"""The second encoder: stages as the FPN reads them, a ViT's weights under timm's names, and a short training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.records import RECORD_SCHEMA, read_table, record_path
from pipeline.run import run_in_process
from sharedris.attention_maps import forward_with_attention
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.config import LossConfig
from sharedris.errors import InputError
from sharedris.loss import segmentation_loss
from sharedris.scales import SCALES, tiny
from sharedris.vilt_encoder import ViltEncoder
from sharedris.vit_weights import load_vit, timm_names, to_timm
from tests.integration.test_failures import job_of

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "vit_micro.safetensors"
"""Of timm, by `tests/golden/make_vit.py`."""


@pytest.fixture
def config(micro_model: ComparedModelConfig) -> ComparedModelConfig:
    """The micro model on the second encoder, without stochastic depth."""
    encoder = replace(micro_model.encoder, drop_path=0.0)
    return replace(micro_model, encoder=encoder, system=replace(micro_model.system, encoder="vilt"))


def timm_state(config: ComparedModelConfig, *, grid: int, seed: int = 0) -> dict[str, Tensor]:
    """Return random weights of a ViT in timm's names and shapes, with its head and final norm."""
    sizes, generator = config.encoder, torch.Generator().manual_seed(seed)
    width, hidden = sizes.width, sizes.mlp_width
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, grid**2 + 1, width),
        "patch_embed.proj.weight": (width, 3, sizes.patch_size, sizes.patch_size),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "head.weight": (10, width),
        "head.bias": (10,),
    }
    linear = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.fc1": (hidden, width)}
    for index in range(sizes.layers):
        for name, (rows, columns) in {**linear, "mlp.fc2": (width, hidden)}.items():
            shapes |= {f"blocks.{index}.{name}.weight": (rows, columns), f"blocks.{index}.{name}.bias": (rows,)}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{index}.{name}.weight": (width,), f"blocks.{index}.{name}.bias": (width,)}
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def only_image(encoder: ViltEncoder, image_BCHW: Tensor) -> list[Tensor]:
    """Return the stages of the image where no text can be attended."""
    with torch.no_grad():
        encoder.embedding.modality.zero_()
        words = torch.zeros(len(image_BCHW), 3, dtype=torch.int64)
        outputs = encoder(image_BCHW, words, torch.ones(len(image_BCHW), 3, dtype=torch.bool))
    return [stage.visual_BVD for stage in outputs]


def test_every_stage_of_the_image_is_timms(config: ComparedModelConfig, tmp_path: Path) -> None:
    golden = load_file(GOLDEN)
    state = {name.removeprefix("weights."): value for name, value in golden.items() if name.startswith("weights.")}
    save_file(state, tmp_path / "vit.safetensors")
    encoder = ViltEncoder(config).eval()
    report = load_vit(encoder, tmp_path / "vit.safetensors")
    assert len(report.matched) == 4 + 12 * config.encoder.layers
    assert (report.resized, report.missing, report.unexpected) == ((), (), ())
    assert report.ignored == ("head.bias", "head.weight", "norm.bias", "norm.weight")
    for index, got in enumerate(only_image(encoder, golden["image"])):
        torch.testing.assert_close(got, golden[f"stage.{index}"], rtol=1e-4, atol=1e-4)
    written = to_timm(encoder)
    assert {*written} == {*timm_names(encoder).values()}
    assert all(torch.equal(written[name], state[name]) for name in written)
    wider = ViltEncoder(replace(config, encoder=replace(config.encoder, image_size=64)))
    assert load_vit(wider, tmp_path / "vit.safetensors").resized == ("pos_embed",)
    torch.testing.assert_close(wider.embedding.visual_positions.detach(), golden["resized"][0])


def test_the_text_reaches_the_image_from_the_first_layer(config: ComparedModelConfig) -> None:
    encoder = ViltEncoder(config).eval()
    image = torch.randn(1, 3, 32, 32)
    one, other = (encoder(image, torch.tensor([ids])) for ids in ([0, 5, 6, 2], [0, 5, 9, 2]))
    assert torch.equal(one[0].visual_BVD, other[0].visual_BVD)
    assert not torch.equal(one[1].visual_BVD, other[1].visual_BVD)


def test_padding_does_not_change_the_logits_and_the_attention_is_shown(config: ComparedModelConfig) -> None:
    model = build_model(config).eval()
    image, ids = torch.randn(2, 3, 32, 32), torch.tensor([[0, 5, 6, 2, 1], [0, 7, 2, 1, 1]])
    padding = ids == 1
    with torch.no_grad():
        padded = model(image, ids, padding)
        alone = model(image[1:], ids[1:, :3])
    torch.testing.assert_close(padded[1:], alone, rtol=1e-4, atol=1e-5)
    maps = forward_with_attention(model, image, ids, padding)[1]
    assert list(maps) == ["encoder", "fpn", "decoder"]


def test_recomputed_layers_give_the_same_gradient(config: ComparedModelConfig) -> None:
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = build_model(config).train()
        model.set_activation_checkpointing(recompute)
        image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        model(image, torch.full((2, 4), 5)).square().mean().backward()
        gradient = model.encoder.embedding.patches.weight.grad  # type: ignore[union-attr]
        assert isinstance(gradient, Tensor)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients)


def test_a_few_steps_at_tiny_scale_reduce_the_loss() -> None:
    torch.manual_seed(0)
    default = tiny()
    model = build_model(replace(default, system=replace(default.system, encoder="vilt"))).train()
    image, ids = torch.randn(4, 3, 64, 64), torch.randint(4, 900, (4, 8))
    mask = torch.zeros(4, 64, 64, dtype=torch.uint8)
    for index in range(4):
        mask[index, 8 * index : 8 * index + 24, 16:40] = 1
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=2e-3), []
    for _ in range(12):
        loss = segmentation_loss(model(image, ids), mask, LossConfig()).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_it_trains_to_its_record_from_imported_weights(
    micro_run: RunConfig, execution: ExecutionConfig, config: ComparedModelConfig, tmp_path: Path
) -> None:
    path = tmp_path / "vit.safetensors"
    save_file(timm_state(config, grid=2), path)
    random_start = job_of(replace(micro_run, model=config), execution, epochs=1)
    given = replace(execution, weights=(("vilt", str(path)),), encoder_weights="beit3's file, which is not read here")
    job = job_of(replace(micro_run, model=config), given, epochs=1)
    assert job.run_id != random_start.run_id, "the weights are part of the identity"
    assert job.recipe == random_start.recipe
    run_in_process(job)
    rows = read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)
    assert {*rows["variant"]} == {"vilt|fpn=self_attention(1,2)|decoder=self_attention(1)"}
    assert rows["gmacs"].gt(0).all()


def changed(state: dict[str, Tensor], case: str) -> dict[str, Tensor]:
    """Return the weights with one fault."""
    if case == "lacks":
        return {name: value for name, value in state.items() if name != "blocks.1.norm2.bias"}
    extra = {"unexpected": {"dist_token": torch.zeros(1)}, "not finite": {"cls_token": state["cls_token"] / 0}}
    wrong = {"shape": {"blocks.0.attn.proj.weight": torch.zeros(3, 3)}, "grid": {"pos_embed": torch.zeros(1, 7, 16)}}
    return {**state, **{**extra, **wrong, "rank": {"pos_embed": torch.zeros(17, 16)}}[case]}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("lacks", r"lacks blocks.1.norm2.bias; nothing was loaded"),
        ("unexpected", r"has unexpected dist_token; nothing was loaded"),
        ("not finite", r"has values that are not finite in cls_token"),
        ("shape", r"blocks.0.attn.proj.weight is \(3, 3\), not \(16, 16\)"),
        ("grid", r"pos_embed has 7 rows: not a class token and a square grid"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_and_loads_nothing(
    config: ComparedModelConfig, tmp_path: Path, case: str, words: str
) -> None:
    save_file(changed(timm_state(config, grid=4), case), tmp_path / "vit.safetensors")
    encoder = ViltEncoder(config)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(InputError, match=words) as caught:
        load_vit(encoder, tmp_path / "vit.safetensors")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())


def test_another_encoder_is_refused(micro_model: ComparedModelConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not fit another encoder than vilt"):
        load_vit(build_model(micro_model), tmp_path / "vit.safetensors")


def test_the_command_writes_the_weights_at_another_size(
    config: ComparedModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(SCALES, "base", lambda: config)
    torch.save({"model": timm_state(config, grid=2)}, tmp_path / "vit.pth")
    out = tmp_path / "new" / "vit.safetensors"
    assert main(["import", "vit", str(tmp_path / "vit.pth"), "--image-size", "48", "--out", str(out)]) == 0
    assert load_file(out)["pos_embed"].shape == (1, 37, 16)
    printed = capsys.readouterr().out
    assert "resized        1  (pos_embed)" in printed
    assert "for --weights vilt FILE" in printed
    assert main(["import", "vit", str(tmp_path / "absent.pth")]) == 2
    assert main(["import", "vit", str(tmp_path / "vit.pth"), "--image-size", "50"]) == 2


@pytest.mark.parametrize("words", [["vilt"], ["vilt", ""], ["beit3", "x"], ["made_up", "x"], ["vilt", "a", "vilt"]])
def test_weights_of_an_unknown_encoder_are_refused(
    toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str]
) -> None:
    where = ["--prepared", str(toy_root), "--runs", str(tmp_path)]
    assert main(["train", *where, "--weights", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--weights" in line
