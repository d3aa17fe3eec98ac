"""The model and its loss compile into one graph, which serves every batch: padded or not, and a smaller last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from pipeline.config import TrainConfig
from pipeline.distributed.grouped_batch_norm import GroupedBatchNorm2d, group, move_running_statistics
from pipeline.distributed.process_group import Worker
from pipeline.training.model_with_loss import ModelWithLoss
from sharedris.build import build_model
from sharedris.cpu_kernels import use_cpu_kernels
from sharedris.cuda_kernels import use_varlen_attention
from tests.frozen_training import micro_model

pytestmark = pytest.mark.slow  # tracing takes ten seconds and more
MODEL = micro_model()
WITH_ROOM_FOR_WINDOWS = replace(MODEL.encoder, image_size=64)


def kinds(fpn: str, decoder: str) -> dict[str, Any]:
    stages = () if fpn == "none" else MODEL.fpn.stages
    layers = 0 if decoder == "none" else MODEL.decoder.layers
    return {
        "fpn": replace(MODEL.fpn, kind=fpn, stages=stages),
        "decoder": replace(MODEL.decoder, kind=decoder, layers=layers),
    }


ABLATIONS = [(fpn, decoder) for fpn in ("none", "self_attention", "cross_attention", "bi_direction")
             for decoder in ("none", "self_attention", "cross_attention", "bi_direction")]  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"{fpn}, {decoder}": kinds(fpn, decoder) for fpn, decoder in ABLATIONS},
    "pwam, cgformer": kinds("pwam", "cgformer"),
    "none, dmmi": kinds("none", "dmmi"),
    "vitdet": {"system": replace(MODEL.system, kind="vitdet")},
    "vilt": {"system": replace(MODEL.system, encoder="vilt")},
    "swin_bert": {
        "system": replace(MODEL.system, kind="cgformer", encoder="swin_bert"),
        "encoder": WITH_ROOM_FOR_WINDOWS,
    },
}


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """No graph of an earlier test."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def batch(samples: int, side: int, *, padded: bool, device: str = "cpu") -> list[torch.Tensor]:
    padding_BT = torch.zeros(samples, 20, dtype=torch.bool)
    padding_BT[:, 8:] = padded
    tensors = [
        torch.randn(samples, 3, side, side),
        torch.randint(3, 100, (samples, 20)),
        padding_BT,
        torch.randint(0, 2, (samples, side, side), dtype=torch.uint8),
        torch.arange(samples),
    ]
    tensors = [tensor.to(device) for tensor in tensors]
    for tensor in tensors:
        torch._dynamo.mark_dynamic(tensor, 0)
    return tensors


@pytest.mark.parametrize("name", VARIANTS)
def test_one_graph_serves_every_batch(name: str) -> None:
    config = replace(MODEL, **VARIANTS[name])
    model = build_model(config).train()
    use_cpu_kernels(model)
    trained = ModelWithLoss(model, TrainConfig(precision="bf16", draws="sample"))
    compiled = torch.compile(trained, fullgraph=True, backend="eager")
    for samples, padded in ((6, True), (6, False), (4, True), (3, False)):
        compiled(*batch(samples, config.encoder.image_size, padded=padded)).total.backward()
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_one_graph_with_grouped_batch_statistics() -> None:
    """Every forward of a run has whole groups and equally many, so its number of samples may be part of the graph."""
    model = group(build_model(MODEL).train(), 2)
    compiled = torch.compile(
        ModelWithLoss(model, TrainConfig(precision="bf16", draws="sample")), fullgraph=True, backend="eager"
    )
    for padded in (True, False):
        inputs = batch(6, MODEL.encoder.image_size, padded=padded)
        for tensor in inputs:
            torch._dynamo.mark_static(tensor, 0)
            del tensor._dynamo_dynamic_indices  # type: ignore[attr-defined]
        compiled(*inputs).total.backward()
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    move_running_statistics(model, Worker())
    norms = [module for module in model.modules() if isinstance(module, GroupedBatchNorm2d)]
    assert norms
    assert all(int(norm.num_batches_tracked or 0) == 1 for norm in norms)


def test_one_graph_with_a_gpus_attention_over_padded_text() -> None:
    """Traced on the meta device, which has the kernel's shapes; in half precision, which the kernel needs."""
    with torch.device("meta"):
        model = build_model(MODEL).train().to(torch.bfloat16)
    use_varlen_attention(model)
    trained = ModelWithLoss(model, TrainConfig(precision="fp32", draws="sample"))
    targets: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    compiled = torch.compile(trained, fullgraph=True, backend=backend)
    for samples in (6, 4, 3):
        image, *others = batch(samples, MODEL.encoder.image_size, padded=True, device="meta")
        image = image.to(torch.bfloat16)
        torch._dynamo.mark_dynamic(image, 0)
        compiled(image, *others).total.backward()
    assert any("_varlen_attn" in target for target in targets)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_compiled_losses_and_gradients_are_those_of_the_eager_step() -> None:
    model = build_model(MODEL).train()
    trained = ModelWithLoss(model, TrainConfig(precision="fp32", draws="sample"))
    inputs = batch(4, MODEL.encoder.image_size, padded=True)
    eager = trained(*inputs).total
    eager.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    graph = torch.compile(trained, fullgraph=True, backend="aot_eager")(*inputs).total
    graph.backward()
    torch.testing.assert_close(graph, eager, rtol=1e-5, atol=1e-6)
    again = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for one, other in zip(gradients, again, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-5)
