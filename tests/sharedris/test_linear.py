"""The faster product is the same function, with the same gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from sharedris import layers
from sharedris import linear as module
from sharedris.layers import FusedAttention
from sharedris.linear import Linear, linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 37, 48), (111, 48)])
def test_forward_and_gradients(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], *, bias: bool) -> None:
    monkeypatch.setattr(module, "SMALLEST_PRODUCT", 1)
    torch.manual_seed(0)
    layer = Linear(48, 80, bias=bias)
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
    layer = Linear(16, 8)
    tokens = torch.randn(2, 20, 16)[:, 3:11]
    torch.testing.assert_close(layer(tokens), functional.linear(tokens, layer.weight, layer.bias))


def test_large_products_alone_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(module, "product", lambda rows, weight, bias: taken.append(rows.shape) or rows @ weight.t())
    with torch.no_grad():
        Linear(64, 64)(torch.zeros(100, 64))
        assert taken == []
        large = Linear(1024, 1024)
        with torch.autocast("cpu", torch.bfloat16):
            large(torch.zeros(100, 1024))
        torch.jit.trace(large, torch.zeros(100, 1024), check_trace=False)
        assert taken == []
        large(torch.zeros(100, 1024))
    assert taken == [(100, 1024)]


def test_autocast_leaves_the_weights_of_a_few_rows_alone() -> None:
    torch.manual_seed(0)
    layer = Linear(48, 80)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        few, many = layer(torch.ones(2, 9, 48)), layer(torch.ones(70, 48))
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
    product = layers.product
    monkeypatch.setattr(layers, "product", lambda *operands: products.append(1) or product(*operands))
    monkeypatch.setattr(module, "SMALLEST_PRODUCT", 1)
    torch.testing.assert_close(FusedAttention()(query, key, value, visible), fused)
    assert not products, "gradients may be asked for: the kernel, whose backward pass exists"
    with torch.inference_mode():
        torch.testing.assert_close(FusedAttention()(query, key, value, visible), fused)
    assert len(products) == 2 * 2 * 3
