"""The plan of a run, with its data prepared and without, and of the paper's recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig, TrainConfig
from pipeline.cost.estimate import count_samples, describe_plan
from pipeline.job import per_rank_batch_of, resolve_job
from sharedris.errors import InputError


def lines(text: str) -> dict[str, str]:
    return {line[:16].strip(): line[17:] for line in text.splitlines()}


def test_the_papers_recipe_is_planned_without_data(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    arguments = ["--prepared", str(tmp_path), "--runs", str(tmp_path / "runs"), "--gflops", "60000"]
    assert main(["train", "--preset", "paper", "--plan", *arguments]) == 0
    plan = lines(capsys.readouterr().out)
    assert plan["run"] == f"cannot start yet: refcoco_unc is not prepared in {tmp_path}"
    assert plan["epochs"] == "35 x 1077 steps = 37695 optimizer steps, 4221840 samples"  # 120624 // 112
    assert plan["global batch"] == "112 = 8 workers x 14 samples x 1 accumulated"
    assert "published counts, not prepared here: refcoco_unc" in plan["samples"]
    assert plan["optimizer"].startswith("AdamW 0.0001, betas (0.9, 0.98), weight decay 0.0005 on all parameters")
    assert "cosine per step, clip 1, drop path 0.1" in plan["optimizer"]
    assert plan["precision"] == "bf16"
    assert " GiB a worker on a GPU (weights 0.89, gradients 0.89, AdamW 1.78, activations " in plan["peak memory"]
    hours = float(plan["estimated time"].split(" = ")[1].split()[0])
    assert hours == pytest.approx((154.52 * 3 * 4221840 + 154.52 * 21586) * 2 / 60000 / 3600, rel=0.01)
    assert not (tmp_path / "runs").exists(), "a plan starts nothing"


@pytest.mark.parametrize("first", [True, False], ids=["preset first", "preset last"])
def test_other_options_change_the_preset(capsys: pytest.CaptureFixture, tmp_path: Path, first: bool) -> None:
    changed = ["--workers", "1", "--scale", "tiny", "--data", "refcocog_umd", "--epochs", "2", "--gflops", "100"]
    arguments = ["--preset", "paper", *changed] if first else [*changed, "--preset", "paper"]
    assert main(["train", *arguments, "--plan", "--prepared", str(tmp_path)]) == 0
    plan = lines(capsys.readouterr().out)
    assert plan["model"].startswith("tiny")
    assert plan["epochs"].startswith("2 x 5032 steps")  # 80512 // 16
    assert plan["global batch"] == "16 = 1 workers x 8 samples x 2 accumulated"
    assert "to evaluate in refcocog_umd/val, refcocog_umd/test (" in plan["samples"], "the held-out splits of that set"


@pytest.mark.parametrize(("workers", "accumulated"), [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_fewer_gpus_than_the_papers_take_14_more_often(
    capsys: pytest.CaptureFixture, tmp_path: Path, workers: int, accumulated: int
) -> None:
    arguments = ["--workers", str(workers), "--gflops", "60000", "--prepared", str(tmp_path)]
    assert main(["train", "--preset", "paper", "--plan", *arguments]) == 0
    plan = lines(capsys.readouterr().out)
    assert plan["global batch"] == f"112 = {workers} workers x 14 samples x {accumulated} accumulated"


def test_a_prepared_set_is_counted_by_its_manifest(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    plan = lines(describe_plan(micro_run, execution, state="x", worker_gflops=10.0))
    assert plan["epochs"].startswith("2 x 4 steps = 8 optimizer steps")
    assert "(as prepared)" in plan["samples"]
    assert plan["step time"].endswith("s of 6 samples (given)")
    assert plan["estimated time"].endswith("at 10 GFLOP/s a worker, without loading of data")
    assert "MFU" not in plan


def test_a_set_without_published_size_is_refused(micro_run: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="toyplus_unc/train: neither prepared below"):
        count_samples(micro_run, str(tmp_path))


@pytest.mark.parametrize(
    ("workers", "micro", "expected"),
    [
        (8, None, (14, 14, 1)),
        (4, None, (28, 14, 2)),
        (1, None, (112, 14, 8)),
        (1, 112, (112, 112, 1)),
        (1, 14, (112, 14, 8)),
        (2, 16, (56, 14, 4)),
        (7, 14, (16, 8, 2)),
    ],
)
def test_fewer_workers_accumulate_to_the_same_global_batch(
    workers: int, micro: int | None, expected: tuple[int, int, int]
) -> None:
    share = per_rank_batch_of(RunConfig(), ExecutionConfig(workers=workers, micro_batch_size=micro), workers)
    assert (share.samples, share.micro_batch_size, share.accumulation) == expected
    assert share.micro_batch_size * share.accumulation * workers == 112


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workers": 4}, "global batch 6 cannot be shared by 4 workers"),
        ({"workers": 2, "micro_batch_size": 2}, "micro batch 2 does not divide the 3 samples"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(
    change: dict[str, int], message: str, micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    with pytest.raises(InputError, match=message):
        resolve_job(micro_run, replace(execution, **change))  # type: ignore[arg-type]


def test_the_presets_14_samples_never_stand_in_the_way(
    capsys: pytest.CaptureFixture, toy_root: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--preset", "paper", "--scale", "tiny", "--data", "toyplus_unc", "--workers", "1", "--plan"]
    arguments += ["--gflops", "100"]
    assert main([*arguments, "--prepared", str(toy_root), "--runs", str(tmp_path)]) == 0
    plan = lines(capsys.readouterr().out)
    assert plan["run"].endswith("(not done)"), "16 samples are shared as twice 8"
    assert main([*arguments, "--prepared", str(toy_root), "--runs", str(tmp_path), "--micro-batch-size", "14"]) == 0
    assert "micro batch 14 does not divide the 16 samples" in lines(capsys.readouterr().out)["run"]


def test_elastic_workers_that_cannot_share_the_batch_are_refused(
    micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    with pytest.raises(InputError, match=r"from 4 to 5 shares a global batch of 6. Set --min-workers to 3 or less"):
        resolve_job(micro_run, replace(execution, workers=6, min_workers=4))
    resolve_job(micro_run, replace(execution, workers=6, min_workers=3))


def test_groups_of_batch_statistics_stay_whole(micro_run: RunConfig, execution: ExecutionConfig) -> None:
    grouped = replace(micro_run, train=replace(micro_run.train, batch_norm_samples=2))
    resolve_job(grouped, replace(execution, workers=3, min_workers=1))
    with pytest.raises(InputError, match=r"6 in groups of 2 samples .* by 2 workers. Choose a multiple of 4"):
        resolve_job(grouped, replace(execution, workers=2))
    with pytest.raises(InputError, match=r"micro batch 3 does not hold whole groups of 2 .* Choose a multiple of 2"):
        resolve_job(grouped, replace(execution, workers=1, micro_batch_size=3))
    with pytest.raises(InputError, match=r"from 2 to 2 shares .* in groups of 2 .* Set --min-workers to 1 or less"):
        resolve_job(grouped, replace(execution, workers=3, min_workers=2))


@pytest.mark.parametrize(("group", "workers", "expected"), [(14, 4, 14), (4, 2, 8), (28, 2, 28), (7, 16, 7)])
def test_a_forward_holds_whole_groups(group: int, workers: int, expected: int) -> None:
    config = replace(RunConfig(), train=TrainConfig(batch_norm_samples=group))
    assert per_rank_batch_of(config, ExecutionConfig(workers=workers), workers).micro_batch_size == expected
