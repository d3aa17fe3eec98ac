"""What a plan says of the smallest visible difference: measured, assumed, given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "reports"))

import synthetic_runs

from pipeline.config import ExecutionConfig
from pipeline.data.prepared import manifest
from pipeline.evaluation.power import ASSUMED
from pipeline.recipes import default_run
from pipeline.records import samples_path
from sweeps.plan import SweepPlan, plan_sweep
from sweeps.power import measured_variation, power_report
from sweeps.registry import SWEEPS


def plan_of(root: Path, seeds: int) -> SweepPlan:
    return plan_sweep(
        SWEEPS["fpn"],
        lambda seed, scale: default_run(scale=scale or "tiny", train_sets=("toyplus_unc",), seed=seed),
        ExecutionConfig(runs_root=str(root), prepared_root=str(root / "prepared")),
        seeds=range(seeds),
        tolerant=True,
    )


@pytest.fixture
def hundred_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.power._images_of", lambda split, root: 100)


@pytest.mark.usefixtures("hundred_images")
def test_without_records_the_assumption_is_named(tmp_path: Path) -> None:
    text = power_report(plan_of(tmp_path, 1), "", points=1.0)
    assert ASSUMED.source in text
    assert (
        f"{100 * ASSUMED.visible(images=100, seeds=1):.2f} points of mIoU on toyplus_unc/val (100 images, 1 seed;"
        in text
    )
    assert "1 point needs" in text
    assert "--seeds 3" in text


@pytest.mark.usefixtures("hundred_images")
def test_earlier_records_are_measured_and_a_given_deviation_is_taken(tmp_path: Path) -> None:
    synthetic_runs.write_runs(tmp_path, seeds=(0, 1, 2))
    samples_path(tmp_path, "tiny-fake-s0-001001", "toyplus_unc/val").unlink()
    text = power_report(plan_of(tmp_path, 3), "", points=0.5)
    assert "measured on 11 earlier runs of scale tiny, recipe cafe00000001" in text
    assert "0.5 points need" in text
    assert "10 points between trainings (given)" in power_report(plan_of(tmp_path, 3), "", points=2, training_points=10)


def test_the_measured_variation_is_that_of_the_made_up_rows(tmp_path: Path) -> None:
    """Samples were drawn with a deviation of 0.12 for each run: 0.17 for a difference, 3 samples an image."""
    synthetic_runs.write_runs(tmp_path, dict.fromkeys(synthetic_runs.FPN_VARIANTS, -0.1), samples=300, images=100)
    found = measured_variation(tmp_path, "toyplus_unc/val", "tiny")
    assert found is not None
    assert found.image == pytest.approx(0.12 * 2**0.5 / 3**0.5, rel=0.2)
    assert found.training is None
    assert measured_variation(tmp_path, "toyplus_unc/testA", "tiny") is None


def test_a_set_that_is_not_prepared_is_said(tmp_path: Path) -> None:
    assert "toyplus_unc" in power_report(plan_of(tmp_path, 1), str(tmp_path / "none"), points=1.0)
    assert manifest.prepared_sets(tmp_path) == []
