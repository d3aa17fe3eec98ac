"""Make the golden file of a small ViT from timm, 1.0.31. Not run by the tests.

    python tests/golden/make_vit.py        # in an environment that has timm, which the project has not

The file holds the ViT's weights under timm's names, an image, the tokens after the embedding and after each block, and
the position table resized to an 8x8 grid.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer

OUT = Path(__file__).resolve().parent / "vit_micro.safetensors"


def main() -> None:
    """Write the file."""
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    vit = VisionTransformer(num_classes=10, **sizes).eval()
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        stages = [vit._pos_embed(vit.patch_embed(image))]
        for block in vit.blocks:
            stages.append(block(stages[-1]))
        resized = resample_abs_pos_embed(vit.pos_embed, [8, 8], num_prefix_tokens=1)
    weights = {f"weights.{name}": tensor.contiguous() for name, tensor in vit.state_dict().items()}
    save_file(
        {
            **weights,
            "image": image,
            **{f"stage.{index}": stage.contiguous() for index, stage in enumerate(stages)},
            "resized": resized.contiguous(),
        },
        OUT,
    )


if __name__ == "__main__":
    main()
