"""Attention by sequences is attention with the mask, is chosen where a flash kernel fits, and asks no device anything.

The flash kernel itself needs a GPU (tests/gpu); here a loop over the sequences stands in for it.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from sharedris import cuda_kernels
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.cuda_kernels import VarlenAttention, fits_flash, has_flash, sequence_bounds, use_varlen_attention
from sharedris.layers import FusedAttention

CPU, META = torch.device("cpu"), torch.device("meta")


def loop_over_sequences(
    query_QHd: Tensor, key_KHd: Tensor, value_KHd: Tensor, bounds_q: Tensor, bounds_k: Tensor, most_q: int, most_k: int
) -> Tensor:
    """What `varlen_attn` documents: each sequence of queries reads the sequence of keys of the same number."""
    attended = torch.full_like(query_QHd, float("nan"))  # a query in no sequence shows
    queries, keys = bounds_q.tolist(), bounds_k.tolist()
    assert queries[0] == keys[0] == 0
    assert (queries[-1], keys[-1]) == (len(query_QHd), len(key_KHd)), "tokens outside of all sequences"
    for place in range(len(queries) - 1):
        of_queries, of_keys = slice(*queries[place : place + 2]), slice(*keys[place : place + 2])
        assert of_queries.stop - of_queries.start <= most_q
        assert of_keys.stop - of_keys.start <= most_k
        if of_queries.start == of_queries.stop:
            continue
        query_HNd, key_HMd = query_QHd[of_queries].transpose(0, 1), key_KHd[of_keys].transpose(0, 1)
        weights_HNM = (query_HNd @ key_HMd.transpose(1, 2) * query_QHd.shape[-1] ** -0.5).softmax(-1)
        attended[of_queries] = (weights_HNM @ value_KHd[of_keys].transpose(0, 1)).transpose(0, 1)
    return attended


@pytest.fixture
def by_loop(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every operand fits, and the loop computes; returns the number of calls."""
    calls = [0]

    def counted(*args: object) -> Tensor:
        calls[0] += 1
        return loop_over_sequences(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(cuda_kernels, "fits_flash", lambda *_: True)
    monkeypatch.setattr(cuda_kernels, "varlen_attn", counted)
    return calls


def visible_keys(keys: int, lengths: list[int]) -> Tensor:
    return (torch.arange(keys) < torch.tensor(lengths)[:, None])[:, None, None, :]


def varlen() -> VarlenAttention:
    attention = torch.nn.Sequential(FusedAttention())
    use_varlen_attention(attention)
    module = attention[0]
    assert isinstance(module, VarlenAttention)
    return module


@pytest.mark.parametrize(
    ("queries", "keys", "lengths"),
    [(9, 9, [9, 5, 1]), (12, 5, [3, 5, 4]), (5, 5, [5, 5, 5]), (1, 7, [2, 7, 3])],
    ids=["joined tokens", "pixels read words", "nothing hidden", "one query"],
)
def test_values_and_gradients_are_those_of_the_mask(
    by_loop: list[int], queries: int, keys: int, lengths: list[int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, queries, 2, 8), (3, keys, 2, 8), (3, keys, 2, 8)]  # as projections lay them out
    operands = [torch.randn(shape, generator=generator).transpose(1, 2).requires_grad_() for shape in shapes]
    visible = visible_keys(keys, lengths)
    upstream = torch.randn(3, 2, queries, 8, generator=generator)
    results = []
    for attention in (varlen(), FusedAttention()):
        attended = attention(*operands, visible)
        results.append([attended, *torch.autograd.grad(attended, operands, upstream)])
    assert by_loop == [1]
    for ours, masked in zip(*results, strict=True):
        torch.testing.assert_close(ours, masked, atol=1e-5, rtol=1e-5)


def test_a_model_is_the_same_function(by_loop: list[int], micro_model: ComparedModelConfig) -> None:
    torch.manual_seed(0)
    masked = build_model(micro_model).eval()
    ours = copy.deepcopy(masked)
    use_varlen_attention(ours)
    images, ids = torch.randn(2, 3, 32, 32), torch.randint(3, 100, (2, 6))
    padding = torch.tensor([[False] * 4 + [True] * 2, [False] * 6])
    results = []
    for model in (ours, masked):
        logits = model(images, ids, padding)
        logits.square().sum().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters())])
    assert by_loop[0] == sum(isinstance(module, VarlenAttention) for module in ours.modules()) > 2
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
    before = by_loop[0]
    ours(images, ids, None)
    assert by_loop[0] == before, "without padding torch's fused attention takes a flash kernel by itself"


def test_bounds_are_computed_once_for_a_mask() -> None:
    bounds = cuda_kernels._NewestBounds()
    visible = visible_keys(4, [2, 4])
    first = bounds.of(visible, 2, 3)
    assert [each.tolist() for each in first] == [[0, 3, 3, 6, 6], [0, 2, 4, 8, 8]]
    assert bounds.of(visible, 2, 3) is first
    assert bounds.of(visible, 2, 4)[0].tolist() == [0, 4, 4, 8, 8]
    assert bounds.of(visible_keys(4, [1, 1]), 2, 4)[1].tolist() == [0, 1, 4, 5, 8]
    assert all(each.dtype == torch.int32 for each in first)
    with pytest.raises(RuntimeError, match="hides a key before a visible one"):
        bounds.of(~visible, 2, 3)
    one_for_all = sequence_bounds(visible_keys(4, [3]), 2, 5)
    assert one_for_all[1].tolist() == [0, 3, 4, 7, 8]


def test_which_operands_fit() -> None:
    def fits(dtype: torch.dtype = torch.bfloat16, width: int = 64, device: torch.device = META) -> bool:
        operand = torch.empty(2, 4, 7, width, dtype=dtype, device=device)
        return fits_flash(operand, operand, operand)

    assert fits()
    assert fits(torch.float16, 256)
    assert not fits(torch.float32), "no flash kernel of torch takes float32"
    assert not fits(width=264)
    assert not fits(width=12)
    assert not fits(device=CPU)
    half, full = torch.empty(2, 4, 7, 64, dtype=torch.float16, device=META), torch.empty(2, 4, 7, 64, device=META)
    assert not fits_flash(half, half, full)


@pytest.mark.parametrize(("capability", "flash"), [((7, 0), False), ((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_which_devices_have_a_flash_kernel(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], flash: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_flash(torch.device("cuda")) is flash
    assert not has_flash(CPU)


def test_a_model_on_the_cpu_keeps_the_mask() -> None:
    attention = varlen()
    operand, visible = torch.randn(2, 2, 5, 8, dtype=torch.bfloat16), visible_keys(5, [3, 5])
    torch.testing.assert_close(
        attention(operand, operand, operand, visible), FusedAttention()(operand, operand, operand, visible)
    )
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), FusedAttention())
    cuda_kernels.use_cuda_kernels(layers)
    assert type(layers[1]) is FusedAttention
