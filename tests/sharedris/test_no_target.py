"""Empty masks in the losses, and the no-target head: its logit, its loss, what it empties, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config import RunConfig
from pipeline.cost.flops import measure_cost
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import load_model, save_model
from sharedris.config import LossConfig, NoTargetConfig
from sharedris.loss import segmentation_loss
from sharedris.model import SharedRis
from sharedris.module_check import check_model
from sharedris.no_target import EMPTY_LOGIT, NoTargetHead, mean_of_visible

HEAD = NoTargetConfig(kind="head", weight=2.0)


@pytest.fixture
def with_head(micro_model: ComparedModelConfig) -> ComparedModelConfig:
    return replace(micro_model, no_target=HEAD)


def model_of(config: ComparedModelConfig) -> SharedRis:
    torch.manual_seed(0)
    return build_model(config)


def inputs(count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    padding = torch.zeros(count, 20, dtype=torch.bool)
    padding[1:, 12:] = True
    return torch.randn(count, 3, 32, 32), torch.randint(1, 1000, (count, 20)), padding


@pytest.mark.parametrize("logit", [-30.0, -3.0, 0.0, 3.0, 30.0])
def test_losses_of_an_empty_target_are_as_the_formula_says(logit: float) -> None:
    logits = torch.full((2, 8, 8), logit, requires_grad=True)
    terms = segmentation_loss(logits, torch.zeros(2, 8, 8), LossConfig())
    area = 64 * torch.tensor(logit).sigmoid().item()
    assert terms.dice.item() == pytest.approx(area / (area + 1), abs=1e-6)
    assert terms.bce.item() == pytest.approx(torch.nn.functional.softplus(torch.tensor(logit)).item(), rel=1e-5)
    terms.total.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad >= 0).all()  # every step empties the prediction


def test_an_empty_target_changes_the_mean_only_by_its_own_part() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(1, 8, 8), (torch.rand(1, 8, 8) > 0.5).float()
    alone = segmentation_loss(logits, mask, LossConfig())
    none = segmentation_loss(logits, torch.zeros(1, 8, 8), LossConfig())
    both = segmentation_loss(logits.repeat(2, 1, 1), torch.cat([mask, torch.zeros(1, 8, 8)]), LossConfig())
    assert both.total.item() == pytest.approx((alone.total + none.total).item() / 2, rel=1e-6)


def test_every_other_part_starts_from_the_same_weights(
    micro_model: ComparedModelConfig, with_head: ComparedModelConfig
) -> None:
    plain, headed = model_of(micro_model).state_dict(), model_of(with_head).state_dict()
    assert all(torch.equal(plain[name], headed[name]) for name in plain)
    assert {name.partition(".")[0] for name in set(headed) - set(plain)} == {"no_target"}


def test_training_passes_logits_on_and_adds_a_weighted_cross_entropy(
    micro_model: ComparedModelConfig, with_head: ComparedModelConfig
) -> None:
    plain, headed = model_of(micro_model), model_of(with_head)
    logits, got = plain.eval()(*inputs()), None
    headed.train()
    for module in headed.modules():  # the same batch statistics and no drops, so that the logits can be compared
        if not isinstance(module, NoTargetHead):
            module.training = False
    headed.no_target.train()
    got = headed(*inputs())
    assert torch.equal(got, logits)
    assert isinstance(headed.no_target, NoTargetHead)
    judged = headed.no_target._logits_B
    assert judged is not None
    mask = torch.zeros(2, 32, 32, dtype=torch.uint8)
    mask[0, 3, 3] = 1
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(judged, torch.tensor([0.0, 1.0]))
    loss = headed.pop_auxiliary_loss(mask)
    assert loss is not None
    assert loss.item() == pytest.approx(2.0 * wanted.item())
    assert headed.pop_auxiliary_loss(mask) is None
    assert plain.pop_auxiliary_loss(mask) is None


def test_evaluation_empties_the_masks_that_are_judged_to_have_no_target(with_head: ComparedModelConfig) -> None:
    model = model_of(with_head).eval()
    head = model.no_target
    assert isinstance(head, NoTargetHead)
    with torch.no_grad():
        head.judge[-1].weight.zero_()
        masks = {}
        for bias in (-1.0, 1.0):
            head.judge[-1].bias.fill_(bias)
            masks[bias] = model(*inputs())
    assert (masks[1.0] == EMPTY_LOGIT).all()
    assert not (masks[1.0].sigmoid() > 1e-30).any()
    assert (masks[-1.0] != EMPTY_LOGIT).all()
    assert model.pop_auxiliary_loss(torch.zeros(2, 32, 32)) is None


def test_padding_does_not_reach_the_judge() -> None:
    tokens = torch.randn(2, 7, 4)
    visible = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    visible[1, ..., 5:] = False
    pooled = mean_of_visible(tokens, visible)
    assert torch.allclose(pooled[0], tokens[0].mean(dim=0))
    assert torch.allclose(pooled[1], tokens[1, :5].mean(dim=0))
    assert torch.equal(mean_of_visible(tokens, None), tokens.mean(dim=1))


def test_a_head_is_saved_checked_and_counted(
    micro_model: ComparedModelConfig, with_head: ComparedModelConfig, toy_root: Path, tmp_path: Path
) -> None:
    check_model(with_head)
    model = model_of(with_head).eval()
    save_model(tmp_path / "run", model, with_head, toy_root / "toyplus_unc/tokenizer.model", 0.35, "run")
    again = load_model(tmp_path / "run").model
    assert torch.equal(again(*inputs()), model(*inputs()))
    plain, headed = ({cost.component: cost for cost in measure_cost(config)} for config in (micro_model, with_head))
    added = sum(parameter.numel() for parameter in model.no_target.parameters())
    assert headed["head"].million_params - plain["head"].million_params == pytest.approx(added / 1e6)
    assert headed["head"].gmacs > plain["head"].gmacs
    assert {name: cost for name, cost in headed.items() if name != "head"} == {
        name: cost for name, cost in plain.items() if name != "head"
    }


def test_the_default_leaves_no_trace_and_a_head_is_another_run(
    micro_run: RunConfig, micro_model: ComparedModelConfig
) -> None:
    explicit = replace(micro_run, model=replace(micro_model, no_target=NoTargetConfig()))
    headed = replace(micro_run, model=replace(micro_model, no_target=HEAD))
    assert explicit.run_id("0" * 16) == micro_run.run_id("0" * 16) != headed.run_id("0" * 16)
    assert headed.recipe("0" * 16) == micro_run.recipe("0" * 16)  # an ablated module, as FPN and decoder
    assert headed.model.variant == f"{micro_model.variant}|no_target=head"


@pytest.mark.parametrize(("part", "kind"), [("decoder", "cgformer"), ("system", "vitdet")])
def test_a_head_needs_our_decoder(part: str, kind: str, with_head: ComparedModelConfig) -> None:
    with pytest.raises(ValueError, match=r"no_target.kind: reads the tokens of our decoder"):
        replace(with_head, **{part: replace(getattr(with_head, part), kind=kind)})
    with pytest.raises(ValueError, match=r"no_target.kind: unknown kind 'heads', did you mean 'head'"):
        NoTargetConfig(kind="heads")
