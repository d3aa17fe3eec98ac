"""Random numbers by sample: uniform, independent of layout, and the same wherever a sample is computed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats

from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.draws import Dropout, RandomModule, keyed_uniform, share_keys

SAMPLES, NUMBERS = 64, 1000


@pytest.fixture(scope="module")
def keys() -> torch.Tensor:
    """Keys that differ little, as bad as keys can be."""
    return torch.arange(SAMPLES)


def test_the_numbers_are_uniform_and_independent(keys: torch.Tensor) -> None:
    numbers = keyed_uniform(keys, (NUMBERS,), place=0)
    other = keyed_uniform(keys, (NUMBERS,), place=1)
    assert numbers.dtype == torch.float32
    assert 0.0 <= float(numbers.min()) < 1e-3
    assert 0.999 < float(numbers.max()) < 1.0
    assert stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > 0.01
    limit = 4 / (SAMPLES * NUMBERS) ** 0.5  # four deviations of a correlation of independent numbers
    pairs = {
        "places": (numbers, other),
        "neighbors": (numbers[:, 1:], numbers[:, :-1]),
        "samples": (numbers[1:], numbers[:-1]),
        "far apart": (numbers[:, 512:], numbers[:, :-512]),
    }
    for name, (one, two) in pairs.items():
        assert abs(float(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1])) < 1.1 * limit, name
    kept = (keyed_uniform(torch.arange(20_000), (1, 1), place=7) < 0.9).float().mean()
    assert float(kept) == pytest.approx(0.9, abs=0.01)


def test_every_bit_of_a_number_is_fair(keys: torch.Tensor) -> None:
    bits = (keyed_uniform(keys, (NUMBERS,), place=3) * 2**24).long()
    means = torch.stack([(bits >> bit & 1).float().mean() for bit in range(24)])
    assert means.sub(0.5).abs().max() < 2.5 / (SAMPLES * NUMBERS) ** 0.5


def test_a_number_depends_on_its_sample_and_position_only(keys: torch.Tensor) -> None:
    whole = keyed_uniform(keys, (5, 8), place=2)
    assert torch.equal(whole[10:13], keyed_uniform(keys[10:13], (5, 8), place=2))
    assert torch.equal(whole[:, :3], keyed_uniform(keys, (3, 8), place=2)), "columns of padding change nothing"
    assert not torch.equal(whole, keyed_uniform(keys, (5, 8), place=3))


def test_without_keys_torch_draws_as_before() -> None:
    module, tokens = RandomModule(), torch.randn(4, 3, 2)
    torch.manual_seed(1)
    got = module.sample_keep(tokens, 0.5)
    torch.manual_seed(1)
    assert torch.equal(got, (torch.rand(4, 1, 1) < 0.5).float() / 0.5)
    torch.manual_seed(1)
    dropped = Dropout(0.5)(tokens)
    torch.manual_seed(1)
    assert torch.equal(dropped, torch.nn.functional.dropout(tokens, 0.5))


def test_all_random_modules_of_a_model_share_keys_and_draw_apart(micro_model: ComparedModelConfig) -> None:
    model = build_model(replace(micro_model, decoder=replace(micro_model.decoder, kind="dmmi"))).train()
    keys = share_keys(model)
    drawing = [module for module in model.modules() if isinstance(module, RandomModule)]
    assert len(drawing) == len({module.place for module in drawing}) > micro_model.encoder.layers
    assert all(module.sample_keys is keys for module in drawing)
    assert not [module for module in model.modules() if isinstance(module, torch.nn.Dropout)], "draws by rank"


def test_a_dropped_value_is_that_of_its_sample() -> None:
    dropout = Dropout(0.3).train()
    keys = share_keys(dropout)
    tokens = torch.ones(8, 6, 4)
    keys.keys_B = torch.arange(8)
    whole = dropout(tokens)
    keys.keys_B = torch.arange(8)[4:]
    assert torch.equal(dropout(tokens[4:]), whole[4:])
    assert whole.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    assert torch.equal(dropout.eval()(tokens), tokens)
