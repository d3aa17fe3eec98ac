"""Modules that the project does not contain train to their record; those that break a contract never start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig
from pipeline.records import RECORD_SCHEMA, read_table, record_path
from pipeline.run import run_in_process
from sharedris.checkpoint import load_model
from sharedris.config import FusionConfig
from sharedris.errors import InputError
from sharedris.registry import FUSIONS, LOSSES, SYSTEMS
from sharedris.scales import tiny
from sweeps.costs import cost_of
from tests.integration.test_failures import job_of


class Mixer(nn.Module):
    """A fusion without base class, attention or MLP."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        super().__init__()
        self.mix = nn.Linear(width, config.option("hidden", 8))
        self.out = nn.Linear(config.option("hidden", 8), width)

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W)."""
        return tokens_BSW + self.out(self.mix(tokens_BSW).relu() + self.mix(tokens_BSW).mean(1, keepdim=True))


class Pixels(nn.Module):
    """A whole system that has nothing of ours."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary_size, 4)
        self.pixels = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, image_BCHW: Tensor, token_ids_BT: Tensor, padding_BT: Tensor | None = None) -> Tensor:
        """Return logits, (B, H, W)."""
        return torch.einsum("bchw,bc->bhw", self.pixels(image_BCHW), self.words(token_ids_BT).mean(dim=1))


def test_a_fusion_and_a_loss_term_train_to_their_record(
    micro_run: RunConfig,
    execution: ExecutionConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(FUSIONS, "mixer", Mixer)
    monkeypatch.setitem(LOSSES, "square", lambda logits, mask: (logits.sigmoid() - mask).square().mean())
    fusion = replace(micro_run.model.fpn.fusion, options=(("hidden", 4),))
    model = replace(
        micro_run.model,
        fpn=replace(micro_run.model.fpn, kind="mixer", fusion=fusion),
        decoder=replace(micro_run.model.decoder, kind="mixer"),
    )
    loss = replace(micro_run.train.loss, terms=(("square", 0.5),))
    job = job_of(replace(micro_run, model=model), execution, epochs=1, loss=loss)
    run_in_process(job)
    (rows,) = [read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)]
    assert set(rows["variant"]) == {"beit3|fpn=mixer(1,2)|decoder=mixer(1)"}
    assert rows["gmacs"].gt(0).all()
    assert any("no attention map of fpn, decoder: the modules show none" in line for line in caplog.messages)
    saved = load_model(job.model_folder)
    assert saved.config == model
    assert saved.model.fpn.fusions[0].mix.out_features == 4  # type: ignore[union-attr, index]


def test_a_system_without_any_part_of_ours_trains_to_its_record(
    micro_run: RunConfig, execution: ExecutionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SYSTEMS, "pixels", Pixels)
    model = replace(micro_run.model, system=replace(micro_run.model.system, kind="pixels"))
    job = job_of(replace(micro_run, model=model), replace(execution, activation_checkpointing=True), epochs=1)
    run_in_process(job)
    rows = read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)
    assert set(rows["variant"]) == {"beit3|whole=pixels"}
    assert rows["gmacs"].iloc[0] == pytest.approx(3 * 4 * 16 * 64 / 1e9, rel=0.5)
    assert rows["million_params"].iloc[0] == pytest.approx((1024 * 4 + 3 * 4 * 16 + 4) / 1e6)


class Sine(Mixer):
    """Has an operator that no cost counter knows."""

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W)."""
        return super().forward(tokens_BSW, visible_B11S, visual_tokens).sin()


def test_a_module_whose_cost_cannot_be_counted_has_no_plan_and_a_run(
    toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(FUSIONS, "sine", Sine)
    small = ["--model.fpn.kind=sine", "--model.fpn.stages", "1", "2", "--model.encoder.layers=2"]
    small += ["--prepared", str(toy_root), "--runs", str(tmp_path), "--device", "cpu", "--epochs", "1"]
    assert main(["train", *small, "--plan"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the cost of beit3|fpn=sine(1,2)|decoder=self_attention(1) cannot be counted: UncountedOperator" in line
    default = tiny()
    with pytest.raises(InputError, match="cannot be counted"):
        cost_of(replace(default, fpn=replace(default.fpn, kind="sine")), tmp_path)
    assert main(["train", *small, "--global-batch-size", "8"]) == 0
    (path,) = (tmp_path / "records").iterdir()
    assert read_table(path, RECORD_SCHEMA)["gmacs"].isna().all()


class Halved(Mixer):
    """Returns half of the channels."""

    def forward(self, tokens_BSW: Tensor, visible_B11S: Tensor | None, visual_tokens: int) -> Tensor:
        """Return (B, S, W / 2)."""
        return super().forward(tokens_BSW, visible_B11S, visual_tokens)[..., ::2]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("halvd", "fpn.kind: unknown kind 'halvd', did you mean 'halved'?"),
        ("halved", "fusion 'halved' (fpn.kind) returns tokens of shape"),
    ],
)
def test_an_unknown_or_broken_module_is_refused_before_anything_is_trained(
    toy_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    kind: str,
    words: str,
) -> None:
    monkeypatch.setitem(FUSIONS, "halved", Halved)
    small = [f"--model.fpn.kind={kind}", "--model.fpn.stages", "1", "2", "--model.encoder.layers=2"]
    assert main(["train", "--prepared", str(toy_root), "--runs", str(tmp_path), "--device", "cpu", *small]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "train:" in line]
    assert words in line
    assert not list(tmp_path.glob("state/*/checkpoint-*"))
    assert not (tmp_path / "records").exists()
