"""Make the golden files of the compared modules from their authors' own code. Not run by the tests.

    python tests/golden/make_baselines.py FOLDER     # with the four repositories below it, as git clones them

| file | repository | commit | class |
|---|---|---|---|
| cris.safetensors | DerrickWang005/CRIS.pytorch | e596332 | model/layers.py: FPN |
| pwam.safetensors | yz93/LAVT-RIS | 1da0af9 | lib/backbone.py: PWAM and the gate of MMBasicLayer |
| cgformer.safetensors | SooLab/CGFormer | 67d3390 | model/layers.py: Decoder, without its noise |
| cgformer_training.safetensors | the same | | the same in training, with given noise: groupings, gradients |
| cgformer_loss.safetensors | the same | | model/segmenter.py: what CGFormer.forward adds for the groupings |
| dmmi.safetensors | toggle1995/RIS-DMMI | 753cd60 | lib/mask_predictor.py: Decoder |
| interaction.safetensors | the same | | lib/backbone.py: PWAM and W_l of MMBasicLayer |
| interaction_padded.safetensors | the same | | the same with padding: random, and the last word again |
| dmmi_losses.safetensors | the same | | lib/loss_functions.py: Contrastive_Loss, Cosine_Sim_Loss |

Their code is imported from where it lies and nothing of it is kept. Sizes that they hold as constants are replaced in
the text on loading (`SIZES`), so that the files stay small; weights, inputs and running statistics are random. The
files of training and of padding hold no weights: theirs are those of the file before.
"""

from __future__ import annotations

import functools
import math
import sys
import types
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent / "baselines"
SIZES = {
    "CGFormer/model/layers.py": {
        "[1024, 512, 256, 128]": "[16, 8, 8, 4]",
        "[30, 60, 120]": "[4, 8, 16]",
        "pe_shape >30": "pe_shape > 4",
        "pe_shape > 30": "pe_shape > 4",
        "768": "12",
    },
    "RIS-DMMI/lib/mask_predictor.py": {"768": "16"},
    "RIS-DMMI/lib/loss_functions.py": {"768": "16"},
}


def stand_ins() -> None:
    """Give their imports of timm, mmseg, einops and each other what little of them runs here."""

    def module(name: str, **content: Any) -> None:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(content)

    def rearrange(tensor: Tensor, pattern: str, **sizes: int) -> Tensor:
        pattern = " ".join(pattern.replace("->", " -> ").split())
        if pattern == "b n (h c) -> b h n c":
            return tensor.unflatten(2, (sizes["h"], -1)).transpose(1, 2)
        if pattern == "b h n c -> b n (h c)":
            return tensor.transpose(1, 2).flatten(2)
        if pattern == "b c h w -> b (h w) c":
            return tensor.flatten(2).transpose(1, 2)
        if pattern == "b c (h w) -> b c h w":
            return tensor.unflatten(2, (sizes["h"], -1))
        raise NotImplementedError(pattern)

    layers = {"DropPath": nn.Identity, "to_2tuple": lambda n: (n, n), "trunc_normal_": nn.init.trunc_normal_}
    for name in ("timm", "timm.models", "mmseg"):
        module(name)
    module("timm.models.layers", **layers)
    module("mmseg.utils", get_root_logger=None)
    module("einops", rearrange=rearrange)
    module("theirs.mmcv_custom", load_checkpoint=None)
    module("theirs.layers", Decoder=None)
    module("bert")
    module("bert.modeling_bert", BertModel=None)


def load(root: Path, path: str) -> types.ModuleType:
    """Return a file of theirs as a module, with smaller constants."""
    text = (root / path).read_text()
    for old, new in SIZES.get(path, {}).items():
        text = text.replace(old, new)
    module = types.ModuleType("theirs.file")
    module.__dict__["__package__"] = "theirs"
    exec(compile(text, path, "exec"), module.__dict__)
    return module


def fill(module: nn.Module, seed: int) -> nn.Module:
    """Give every weight and running statistic a random value, and return the module in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            scale = 0.3 if tensor.ndim > 1 else 0.2
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
            if name.endswith(("running_var", "norm.weight")):
                tensor.abs_().add_(0.5)
    return module.eval()


def save(name: str, module: nn.Module | None, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    """Write one golden file, all in float32."""
    weights = {} if module is None else module.state_dict()
    content = {f"weights.{key}": value for key, value in weights.items() if value.is_floating_point()}
    content |= {f"input.{key}": value for key, value in inputs.items()}
    content |= {f"output.{key}": value for key, value in outputs.items()}
    save_file({key: value.detach().float().contiguous().clone() for key, value in content.items()}, HERE / name)


def cris(root: Path) -> None:
    theirs = fill(load(root, "CRIS.pytorch/model/layers.py").FPN([6, 10, 12], [4, 8, 16]), 1)
    maps = [torch.randn(2, 6, 8, 8), torch.randn(2, 10, 4, 4), torch.randn(2, 12, 2, 2)]
    state = torch.randn(2, 12)
    names = ("low", "middle", "high")
    save(
        "cris.safetensors", theirs, dict(zip(names, maps, strict=True)) | {"state": state}, {"map": theirs(maps, state)}
    )


def pwam(root: Path) -> None:
    theirs = nn.Module()
    theirs.module = load(root, "LAVT-RIS/lib/backbone.py").PWAM(16, 16, 12, 16, 16, num_heads=2)
    theirs.gate = nn.Sequential(nn.Linear(16, 16, bias=False), nn.ReLU(), nn.Linear(16, 16, bias=False), nn.Tanh())
    fill(theirs, 2)
    pixels, words = torch.randn(2, 25, 16), torch.randn(2, 7, 12)
    used = (torch.arange(7)[None] < torch.tensor([[4], [7]])).float()
    common = theirs.module(pixels, words.transpose(1, 2), used[..., None])
    outputs = {"common": common, "gated": theirs.gate(common) * common}
    save("pwam.safetensors", theirs, {"pixels": pixels, "words": words, "used": used}, outputs)


def cgformer(root: Path) -> None:
    module = load(root, "CGFormer/model/layers.py")
    module.gumbel_softmax = lambda logits, tau, dim: module.hard_softmax(logits / tau, dim)  # without the noise
    theirs = cgformer_decoder(module)
    maps, words, used = cgformer_inputs()
    logits, groups = theirs(maps, words.transpose(1, 2), used[..., None])
    inputs = {f"map.{index}": tensor for index, tensor in enumerate(maps)} | {"words": words, "used": used}
    outputs = {"logits": logits[:, 0]} | {f"groups.{index}": tensor for index, tensor in enumerate(groups)}
    save("cgformer.safetensors", theirs, inputs, outputs)


def cgformer_decoder(module: types.ModuleType) -> nn.Module:
    decoder = module.Decoder(types.SimpleNamespace(token_dim=8, num_token=2))
    return fill(decoder, 12)  # a seed that gives each token pixels


def cgformer_inputs() -> tuple[list[Tensor], Tensor, Tensor]:
    maps = [torch.randn(2, channels, side, side) for channels, side in ((16, 2), (8, 4), (8, 8), (4, 16))]
    return maps, torch.randn(2, 7, 12), (torch.arange(7)[None] < torch.tensor([[4], [7]])).float()


@torch.enable_grad()
def cgformer_training(root: Path) -> None:
    """With batch statistics and noise, without dropout; the loss takes logits, and groupings weighed by the noise."""
    theirs = cgformer_decoder(load(root, "CGFormer/model/layers.py")).train()
    for part in theirs.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    maps, words, used = cgformer_inputs()
    given = [tensor.requires_grad_() for tensor in (*maps, words)]
    noise = [torch.rand(2, 2, side**2).clamp(0.01, 0.99) for side in (4, 8, 16)]
    drawn, uniform = iter(noise), torch.distributions.Uniform
    draw, uniform.sample = uniform.sample, lambda self, shape: next(drawn)  # type: ignore[method-assign,misc]
    logits, groups = theirs(maps, words.transpose(1, 2), used[..., None])
    uniform.sample = draw  # type: ignore[method-assign]
    loss = logits[:, :, 1:-1, 1:-1].square().mean()  # without the frame of bias
    loss = loss + sum((tensor.flatten(2) * weight).mean() for tensor, weight in zip(groups, noise, strict=True))
    gradients = torch.autograd.grad(loss, given)
    inputs = {f"map.{index}": tensor for index, tensor in enumerate(maps)} | {"words": words, "used": used}
    outputs = {"loss": loss} | {f"groups.{index}": tensor for index, tensor in enumerate(groups)}
    outputs |= {f"gradient.map.{index}": tensor for index, tensor in enumerate(gradients[:4])}
    outputs["gradient.words"] = gradients[4]
    save(
        "cgformer_training.safetensors", None, inputs | {f"noise.{i}": value for i, value in enumerate(noise)}, outputs
    )


@torch.enable_grad()
def cgformer_loss(root: Path) -> None:
    """Run their forward pass around given maps and logits, and leave out what it adds for the logits."""
    segmenter = load(root, "CGFormer/model/segmenter.py")
    groups = [torch.randn(2, 2, side, side, requires_grad=True) for side in (4, 8, 16)]
    logits, mask = torch.randn(2, 1, 32, 32), torch.randint(0, 2, (2, 32, 32))
    parts = types.SimpleNamespace(
        training=True,
        text_encoder=lambda text, attention_mask: [torch.zeros(2, 7, 12)],
        backbone=lambda *_: [None] * 4,
        decoder=lambda *_: (logits, groups),
    )
    _, target, loss = segmenter.CGFormer.forward(parts, torch.zeros(2, 3, 32, 32), None, torch.ones(2, 7), mask)
    of_logits = segmenter.dice_loss(logits, target)
    of_logits = of_logits + segmenter.sigmoid_focal_loss(logits, target, alpha=-1, gamma=0)
    gradients = torch.autograd.grad(loss, groups)
    inputs = {f"groups.{index}": tensor for index, tensor in enumerate(groups)} | {"mask": mask}
    outputs = {f"gradient.{index}": tensor for index, tensor in enumerate(gradients)} | {"loss": loss - of_logits}
    save("cgformer_loss.safetensors", None, inputs, outputs)


def dmmi(root: Path) -> None:
    layer = nn.TransformerDecoderLayer
    nn.TransformerDecoderLayer = functools.partial(layer, dim_feedforward=24)  # type: ignore[misc,assignment]
    theirs = fill(load(root, "RIS-DMMI/lib/mask_predictor.py").Decoder(16), 4)
    nn.TransformerDecoderLayer = layer  # type: ignore[misc]
    maps = [torch.randn(2, channels, side, side) for channels, side in ((16, 2), (8, 4), (4, 8), (2, 16))]
    words, hidden = torch.randn(2, 7, 16), torch.randn(2, 7, 16)
    vector, remade, logits = theirs(words.transpose(1, 2), hidden.transpose(1, 2), *maps)
    inputs = {f"map.{index}": tensor for index, tensor in enumerate(maps)} | {"words": words, "hidden": hidden}
    outputs = {"logits": logits, "words": remade.transpose(1, 2), "vector": vector}
    save("dmmi.safetensors", theirs, inputs, outputs)


def interaction_of_stage(root: Path) -> nn.Module:
    theirs = nn.Module()
    backbone = load(root, "RIS-DMMI/lib/backbone.py")
    backbone.math, backbone.rearrange = math, sys.modules["einops"].rearrange  # type: ignore[attr-defined]
    theirs.module = backbone.PWAM(12, 12, 16, 12, 12, num_heads=1)
    theirs.W_l = nn.Sequential(nn.Conv1d(16, 16, 1), nn.GELU())  # of MMBasicLayer
    return fill(theirs, 5)


def interaction(root: Path) -> None:
    theirs = interaction_of_stage(root)
    pixels, words = torch.randn(2, 36, 12), torch.randn(2, 7, 16)
    common, seen = theirs.module(pixels, words.transpose(1, 2), torch.ones(2, 7, 1))
    outputs = {"common": common, "words": words + theirs.W_l(seen).transpose(1, 2)}
    save("interaction.safetensors", theirs, {"pixels": pixels, "words": words}, outputs)


def interaction_padded(root: Path) -> None:
    theirs = interaction_of_stage(root)
    pixels, words = torch.randn(2, 36, 12), torch.randn(2, 7, 16)
    used = (torch.arange(7)[None] < torch.tensor([[4], [6]])).float()[..., None]
    last = torch.stack([words[0, 3], words[1, 5]])[:, None]
    outputs = {}
    for name, read in (("random", words), ("repeated", torch.where(used.bool(), words, last))):
        common, seen = theirs.module(pixels, read.transpose(1, 2), used)
        outputs |= {f"{name}.common": common, f"{name}.words": read + theirs.W_l(seen).transpose(1, 2)}
    inputs = {"pixels": pixels, "words": words, "used": used[..., 0]}
    save("interaction_padded.safetensors", None, inputs, outputs)


@torch.enable_grad()
def dmmi_losses(root: Path) -> None:
    """With all targets there; "cut" is what their pairing gives where nothing is padded: the first five words alone."""
    losses = load(root, "RIS-DMMI/lib/loss_functions.py")
    pairing, likeness = fill(losses.Contrastive_Loss(), 6), losses.Cosine_Sim_Loss()
    image, words, remade = torch.randn(3, 16), torch.randn(3, 7, 16), torch.randn(3, 7, 16)
    given = [tensor.requires_grad_() for tensor in (image, words, remade)]
    used, there = (torch.arange(7)[None] < torch.tensor([[4], [7], [5]])).float(), torch.ones(3)
    to_device, Tensor.cuda = Tensor.cuda, lambda self: self  # type: ignore[method-assign,misc,assignment]
    outputs = {"pairing": pairing(image, words.transpose(1, 2), there)}
    outputs["pairing.cut"] = pairing(image, words[:, :5].transpose(1, 2), there)
    Tensor.cuda = to_device  # type: ignore[method-assign]
    outputs["words"] = likeness(words.transpose(1, 2), remade.transpose(1, 2), used[..., None], there)
    gradients = torch.autograd.grad(outputs["pairing"], [image, words])
    outputs |= {"pairing.gradient.image": gradients[0], "pairing.gradient.words": gradients[1]}
    gradients = torch.autograd.grad(outputs["words"], given, allow_unused=True)
    assert gradients[:2] == (None, None)  # the words themselves learn nothing by it
    outputs["words.gradient.remade"] = gradients[2]
    inputs = {"image": image, "words": words, "remade": remade, "used": used}
    save("dmmi_losses.safetensors", pairing, inputs, outputs)


def main() -> None:
    """Write all files; what makes the older ones stays in front, so that these draw the same numbers again."""
    stand_ins()
    torch.manual_seed(0)
    HERE.mkdir(exist_ok=True)
    root = Path(sys.argv[1])
    with torch.no_grad():
        later = (cgformer_training, cgformer_loss, interaction_padded, dmmi_losses)
        for make in (cris, pwam, cgformer, dmmi, interaction, *later):
            make(root)


if __name__ == "__main__":
    main()
