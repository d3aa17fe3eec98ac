"""Make the golden file of Swin and BERT from Hugging Face's transformers, 5.23.0. Not run by the tests.

    python tests/golden/make_encoders.py        # in an environment that has transformers, which the project has not

Weights are saved by transformers itself, so that their names are those of the files that it publishes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel, SwinBackbone, SwinConfig

HERE = Path(__file__).resolve().parent / "baselines"
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def published(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Fill the model with random values and return its weights as transformers saves them."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.2))
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


@torch.no_grad()
def main() -> None:
    """Write the file."""
    swin = SwinBackbone(
        SwinConfig(
            image_size=40, patch_size=4, embed_dim=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4], window_size=4,
            out_features=STAGES,
        )
    )  # fmt: skip
    bert = BertModel(
        BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
            max_position_embeddings=16,
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    content = {f"swin.{name}": tensor for name, tensor in published(swin, 0).items()}
    content |= {f"bert.{name}": tensor for name, tensor in published(bert, 1).items()}
    image_BCHW, ids_BT = torch.randn(2, 3, 40, 40), torch.randint(0, 50, (2, 7))
    used_BT = (torch.arange(7)[None] < torch.tensor([[4], [7]])).long()
    content |= {"input.image": image_BCHW, "input.ids": ids_BT, "input.used": used_BT}
    content |= {f"output.map.{index}": map_BCHW for index, map_BCHW in enumerate(swin(image_BCHW).feature_maps)}
    content["output.text"] = bert(input_ids=ids_BT, attention_mask=used_BT).last_hidden_state
    save_file({name: tensor.contiguous().clone() for name, tensor in content.items()}, HERE / "encoders.safetensors")


if __name__ == "__main__":
    main()
