"""The kernels for CPUs are the same functions, with the same gradients, and one call swaps them in."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from sharedris import cpu_kernels as module
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.cpu_kernels import CpuAttention, CpuLinear, CpuMultiHeadAttention, linear, use_cpu_kernels
from sharedris.layers import ExplicitAttention, FusedAttention, MultiHeadAttention, explicit_attention


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 37, 48), (111, 48)])
def test_forward_and_gradients(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], *, bias: bool) -> None:
    monkeypatch.setattr(module, "SMALLEST_PRODUCT", 1)
    torch.manual_seed(0)
    layer = CpuLinear(48, 80, bias=bias)
    tokens = torch.randn(shape, requires_grad=True)
    upstream = torch.randn(*shape[:-1], 80)
    results = []
    for function in (linear, functional.linear):
        out = function(tokens, layer.weight, layer.bias)
        gradients = torch.autograd.grad(out, [tokens, *layer.parameters()], upstream)
        results.append([out, *gradients])
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(layer(tokens), results[1][0], atol=1e-4, rtol=1e-4)


def test_a_strided_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALLEST_PRODUCT", 1)
    layer = CpuLinear(16, 8)
    tokens = torch.randn(2, 20, 16)[:, 3:11]
    torch.testing.assert_close(layer(tokens), functional.linear(tokens, layer.weight, layer.bias))


def test_large_products_alone_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(module, "product", lambda rows, weight, bias: taken.append(rows.shape) or rows @ weight.t())
    with torch.no_grad():
        CpuLinear(64, 64)(torch.zeros(100, 64))
        assert taken == []
        large = CpuLinear(1024, 1024)
        with torch.autocast("cpu", torch.bfloat16):
            large(torch.zeros(100, 1024))
        torch.jit.trace(large, torch.zeros(100, 1024), check_trace=False)
        assert taken == []
        large(torch.zeros(100, 1024))
    assert taken == [(100, 1024)]


def test_autocast_leaves_the_weights_of_a_few_rows_alone() -> None:
    torch.manual_seed(0)
    layer = CpuLinear(48, 80)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        few, many = layer(torch.ones(2, 9, 48)), layer(torch.ones(70, 48))
        per_sample = layer(torch.ones(2, 48))
        assert torch.equal(per_sample, functional.linear(torch.ones(2, 48), layer.weight, layer.bias))
    exact = layer(torch.ones(48)).bfloat16()
    assert few.dtype == many.dtype == torch.bfloat16
    assert (few == exact).all()
    torch.testing.assert_close(many, exact.expand(70, 80), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("masked", [True, False])
def test_attention_head_by_head_is_the_fused_one(monkeypatch: pytest.MonkeyPatch, *, masked: bool) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 17, 8), torch.randn(2, 3, 11, 8), torch.randn(2, 3, 11, 8)
    visible = torch.arange(11)[None, None, None] < torch.tensor([11, 4])[:, None, None, None] if masked else None
    fused = FusedAttention()(query, key, value, visible)
    products = []
    product = module.product
    monkeypatch.setattr(module, "product", lambda *operands: products.append(1) or product(*operands))
    monkeypatch.setattr(module, "SMALLEST_PRODUCT", 1)
    torch.testing.assert_close(CpuAttention()(query, key, value, visible), fused)
    assert not products, "gradients may be asked for: the kernel, whose backward pass exists"
    with torch.inference_mode():
        torch.testing.assert_close(CpuAttention()(query, key, value, visible), fused)
    assert len(products) == 2 * 2 * 3


@pytest.mark.parametrize("padded", [False, True])
def test_bfloat16_on_a_cpu_stays_close_to_the_fused_kernel(*, padded: bool) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 20, 8, dtype=torch.bfloat16) for _ in range(3))
    visible = (torch.arange(20) < 13).expand(2, 1, 1, 20) if padded else None
    exact = FusedAttention()(query.float(), key.float(), value.float(), visible)
    got = CpuAttention()(query, key, value, visible)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), exact, atol=0.03, rtol=0.03)


def test_partial_projections_are_those_of_the_whole_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    plain = MultiHeadAttention(16, 2)
    fast = copy.deepcopy(plain)
    use_cpu_kernels(fast)
    tokens = torch.randn(2, 5, 16)
    want = [plain.project_query(tokens), *plain.project_key_value(tokens)]
    products = []
    product = module.product
    monkeypatch.setattr(module, "product", lambda *operands: products.append(1) or product(*operands))
    monkeypatch.setattr(module, "SMALLEST_PRODUCT", 1)
    with torch.no_grad():
        got = [fast.project_query(tokens), *fast.project_key_value(tokens)]
    assert len(products) == 2
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_switch_changes_classes_and_nothing_else(micro_model: ComparedModelConfig) -> None:
    torch.manual_seed(0)
    model = build_model(micro_model).eval()
    plain = copy.deepcopy(model)
    use_cpu_kernels(model)
    kinds = {type(layer) for layer in model.modules()}
    assert {CpuLinear, CpuAttention, CpuMultiHeadAttention} <= kinds
    assert not kinds & {nn.Linear, FusedAttention, MultiHeadAttention}
    assert list(model.state_dict()) == list(plain.state_dict())
    image, ids = torch.randn(1, 3, 32, 32), torch.full((1, 5), 7)
    for copied in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert {type(layer) for layer in copied.modules()} == kinds
        assert torch.equal(copied(image, ids), plain(image, ids))  # all products are small
    with explicit_attention(model):
        assert isinstance(model.encoder.layers[0].attend, ExplicitAttention)
    assert isinstance(model.encoder.layers[0].attend, CpuAttention)


def test_a_model_on_another_device_keeps_torchs_kernels() -> None:
    layer = nn.Linear(4, 4, device="meta")
    use_cpu_kernels(layer)
    assert type(layer) is nn.Linear
