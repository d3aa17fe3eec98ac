"""What the pictures show: bins, selections, masks, maps; and that each is drawn in both themes."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs
from matplotlib.image import imread, imsave
from pycocotools import mask as coco

from pipeline.records import RecordError, write_table
from pipeline.validation_rows import VALIDATION_SCHEMA, validation_path
from reports import attention, breakdown, mask_gallery, pareto, plots, row_scores
from reports.build import build_one, build_tables
from reports.cost_cells import CostBook
from reports.ground_truth import load_truth
from reports.labels import in_order, variant_label
from reports.load import load_costs, load_runs
from reports.outline import outline
from reports.precision_curve import draw_precisions, read_precisions
from reports.run_selection import RunSelection, Wanted, select_runs
from reports.style import DARK, INK, SERIES, dark, save, save_pixels, themed, to_svg
from reports.tables import published_rows
from reports.two_level import compare
from reports.validation_curves import read_validations, validation_curves

SIDE = 64


def test_outline_is_the_rim() -> None:
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    assert outline(mask).sum() == 16


def test_bins_by_hand() -> None:
    image = np.array([0, 0, 1, 1])
    found = breakdown.binned(np.array([0, 1, 1, 1]), 3, image, np.array([[0.2], [0.4], [0.6], [0.8]]))
    assert found.count.tolist() == [1, 3, 0]
    assert found.mean[:2] == pytest.approx([0.2, 0.6])
    assert np.isnan(found.mean[2])
    assert np.isnan(found.low).all(), "two images are too few for an interval"


def test_bins_of_many_images_have_intervals_around_their_mean() -> None:
    generator = np.random.default_rng(0)
    image, iou = np.arange(60), generator.random(60)
    found = breakdown.binned(np.repeat([0, 1], [57, 3]), 2, image, iou[:, None])
    assert found.low[0] < found.mean[0] < found.high[0] < 0.7
    assert np.isnan(found.high[1])


def test_bins_of_several_trainings_have_intervals_over_both() -> None:
    generator = np.random.default_rng(1)
    image, iou = np.arange(300), 0.5 + 0.05 * generator.standard_normal(300)
    shift = np.array([-0.06, 0.0, 0.06])
    one = breakdown.binned(np.zeros(300, int), 1, image, iou[:, None])
    three = breakdown.binned(np.zeros(300, int), 1, image, iou[:, None] + shift)
    assert three.mean == pytest.approx(one.mean)
    # Three trainings 6 points apart: 4.3 times 6 / sqrt(3) points, where the images alone give half a point.
    assert (one.high - one.low)[0] < 0.02
    assert 2 * 0.12 < (three.high - three.low)[0] < 2 * 0.16


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("left blue circle", "location"),
        ("the red triangle below the square", "relation"),
        ("small star", "comparison"),
        ("RED shirt", "appearance"),
        ("second from the right", "location"),
        ("topping", "appearance"),
    ],
)
def test_kinds_of_expressions(expression: str, kind: str) -> None:
    assert breakdown.kind_of(expression) == kind


@pytest.mark.parametrize(
    ("variant", "label"),
    [
        (synthetic_runs.FULL, "Shared-RIS"),
        (synthetic_runs.NO_FPN, "no FPN"),
        (synthetic_runs.TWO, "FPN {6, 12}"),
        ("beit3|fpn=none()|decoder=none(0)", "no FPN, no fusion"),
        ("beit3|fpn=self_attention(3,6,9,12)|decoder=self_attention(3)", "3 decoder layers"),
        ("swin+bert|whole=dmmi", "dmmi (swin+bert)"),
        (f"{synthetic_runs.FULL}|no_target=head", "no-target head"),
        (f"{synthetic_runs.NO_FPN}|no_target=head", "no FPN, no-target head"),
    ],
)
def test_labels(variant: str, label: str) -> None:
    assert variant_label(variant) == label


def test_variants_come_in_the_papers_order() -> None:
    assert in_order([synthetic_runs.FULL, "zzz", synthetic_runs.TWO, synthetic_runs.NO_FPN, synthetic_runs.TWO]) == [
        synthetic_runs.NO_FPN,
        synthetic_runs.TWO,
        synthetic_runs.FULL,
        "zzz",
    ]


def chosen(root: Path) -> RunSelection:
    return build_one("VII-a", load_runs(root), CostBook(load_costs(root)[0]), Wanted()).choice


def test_plots_are_valid_svg_in_three_uses_and_reproducible(runs_root: Path, tmp_path: Path) -> None:
    costs = CostBook(load_costs(runs_root)[0])
    built = build_one("VII-a", load_runs(runs_root), costs, Wanted())
    _, published = published_rows("VI")
    figures = {
        "bars": row_scores.row_scores(built),
        "pareto": pareto.pareto(published, built.choice, costs),
        "costs": plots.component_costs(costs, costs.variants("base")),
        "precision": draw_precisions(read_precisions(load_runs(runs_root), built.choice, []), built.choice),
    }
    for name, figure in figures.items():
        assert figure is not None
        svg = save(figure, tmp_path, name)
        xml.etree.ElementTree.parse(tmp_path / f"{name}.svg")
        night = (tmp_path / f"{name}-dark.svg").read_text(encoding="utf-8")
        assert DARK[INK] in night
        assert INK not in night
        assert not any(colour in themed(svg) for colour in (*SERIES, INK))
        assert "http" not in themed(svg).replace("http://www.w3.org", "")
    again = draw_precisions(read_precisions(load_runs(runs_root), built.choice, []), built.choice)
    assert again is not None
    assert to_svg(again) == (tmp_path / "precision.svg").read_text(encoding="utf-8").partition("\n")[2]


def test_rows_show_each_seed_and_the_published_marks(runs_root: Path) -> None:
    built = build_one("VII-a", load_runs(runs_root), CostBook(load_costs(runs_root)[0]), Wanted())
    figure = row_scores.row_scores(built)
    assert figure is not None
    here, paper = figure.axes[:2]
    marks = [line for line in paper.lines if line.get_marker() == "D"]
    means = [line for line in here.lines if line.get_marker() == "o"]
    seeds = [line for line in here.lines if line.get_marker() == "|"]
    assert sorted(float(line.get_xdata()[0]) for line in marks) == [66.25, 67.74, 68.13, 68.42]
    assert len(means) == 4
    assert [len(line.get_xdata()) for line in seeds] == [2, 2, 2, 2]
    low, high = here.get_xlim()
    assert all(low < float(line.get_xdata().min()) <= float(line.get_xdata().max()) < high for line in here.lines)
    assert any(text.get_text() == f"axis from {low:.1f}" for text in here.texts)


def test_rows_have_the_interval_of_the_tables(runs_root: Path) -> None:
    """Over trainings and images together; the tables' own test measures its coverage."""
    report = build_tables(runs_root, ["VII-a"], Wanted(), statistics=False, draws=200)
    built, resampled = report.built[0], report.resampled["VII-a"]
    rows = built.choice.rows[built.choice.rows["variant"] == synthetic_runs.TWO]
    expected = compare(resampled.scores["oiou"], [resampled.run_ids.index(each) for each in rows["run_id"]])
    low, high = row_scores.interval(built.choice, resampled, "oiou", synthetic_runs.TWO) or (0.0, 0.0)
    assert (low, high) == (expected.low, expected.high)
    assert low < rows["oiou"].mean() < high
    figure = row_scores.row_scores(built, resampled)
    assert figure is not None
    drawn = [line.get_xdata() for line in figure.axes[0].lines if line.get_linewidth() == 2.2]
    assert [pytest.approx([100 * low, 100 * high])] == [ends for ends in drawn if ends[0] == pytest.approx(100 * low)]
    assert "95 % interval over trainings and images" in [text.get_text() for text in figure.legends[0].get_texts()]
    costs = pareto.sweep_pareto(built, resampled)
    assert costs is not None
    ends = [tuple(line.get_ydata()) for line in costs.axes[0].lines if line.get_linestyle() == "-"]
    assert (pytest.approx(100 * low), pytest.approx(100 * high)) in ends
    assert "95 % interval of the score" in [text.get_text() for text in costs.legends[0].get_texts()]
    assert row_scores.interval(built.choice, None, "oiou", synthetic_runs.TWO) is None
    assert row_scores.interval(built.choice, resampled, "oiou", "of no run") is None


def test_the_front_has_the_rows_that_none_beats_and_the_key_round_sizes() -> None:
    def point(gmacs: float, score: float) -> pareto.Point:
        return pareto.Point(label="", gmacs=gmacs, score=score, params=gmacs, is_ours=True)

    points = [point(3, 60), point(1, 50), point(2, 49), point(4, 60), point(1, 48)]
    assert [(each.gmacs, each.score) for each in pareto.front(points)] == [(1, 50), (3, 60)]
    assert [each.score for each in pareto.front(points, higher_is_better=False)] == [48]
    assert pareto.size_key([239, 375]) == [200]
    assert pareto.size_key([1.4, 9]) == [1, 5]


def test_costs_are_drawn_over_the_variant_without_an_fpn(runs_root: Path) -> None:
    costs = CostBook(load_costs(runs_root)[0])
    figure = plots.component_costs(costs, costs.variants("base"))
    assert figure is not None
    assert all("added over no FPN" in axes.get_xlabel() for axes in figure.axes)
    assert not any(label.get_text() == "no FPN" for label in figure.axes[0].get_yticklabels())


def test_breakdowns_name_counts_and_units(runs_root: Path) -> None:
    choice = chosen(runs_root)
    frames, problems = breakdown.read_variants(load_runs(runs_root), choice)
    assert problems == []
    figure = breakdown.by_size(frames, choice)
    assert figure is not None
    svg = to_svg(figure)
    assert "object size (% of the image)" in svg
    assert "n=" in svg
    assert "no target" not in svg
    without = {variant: frame.assign(area_ratio=0.0) for variant, frame in frames.items()}
    figure = breakdown.by_size(without, choice)
    assert figure is not None
    assert [label.get_text().partition("\n")[0] for label in figure.axes[0].get_xticklabels()] == ["no target"]


@pytest.fixture
def with_images(tmp_path: Path) -> tuple[Path, Path]:
    """Return runs and prepared data of 12 samples on 4 images whose masks are known."""
    runs_root, prepared = tmp_path / "runs", tmp_path / "prepared"
    synthetic_runs.write_runs(runs_root, samples=12, images=4)
    folder = prepared / "toyplus_unc"
    folder.mkdir(parents=True)
    images = tmp_path / "images"
    images.mkdir()
    target = np.zeros((SIDE, SIDE), np.uint8, order="F")
    target[10:30, 20:40] = 1
    rows = [
        {"ref_id": ref, "file_name": "x.jpg", "height": SIDE, "width": SIDE, "mask_rle": coco.encode(target)["counts"]}
        for ref in range(4)
    ]
    pd.DataFrame(rows).to_parquet(folder / "val.parquet")
    (folder / "dataset.json").write_text(json.dumps({"image_root": str(images), "embedded": False}))
    for number in range(3):  # the fourth image is missing on purpose
        imsave(images / f"image_{number:05d}.jpg", np.full((SIDE, SIDE, 3), 40 * number, np.uint8))
    return runs_root, prepared


def test_gallery_selects_worst_best_and_disagreement_one_per_image(with_images: tuple[Path, Path]) -> None:
    runs = load_runs(with_images[0])
    predictions = mask_gallery.read_predictions(runs, chosen(with_images[0]))
    assert list(predictions.labels.values())[:1] == ["no FPN"]
    assert predictions.labels[predictions.main] == "Shared-RIS"
    iou = predictions.iou[predictions.main]
    assert mask_gallery.select(predictions, "worst")[0] == int(iou.idxmin())
    assert mask_gallery.select(predictions, "best")[0] == int(iou.idxmax())
    ratios = predictions.shared["area_ratio"].where(predictions.shared.index != iou.idxmax(), 0.0)
    empty = replace(predictions, shared=predictions.shared.assign(area_ratio=ratios))
    assert mask_gallery.select(empty, "best")[0] == int(iou.drop(iou.idxmax()).idxmax())
    spread = predictions.iou.max(axis=1) - predictions.iou.min(axis=1)
    assert mask_gallery.select(predictions, "disagreement")[0] == int(spread.idxmax())
    images = predictions.shared["image_id"].iloc[mask_gallery.select(predictions, "worst")]
    assert images.is_unique


def test_gallery_shows_the_runs_that_were_named(with_images: tuple[Path, Path]) -> None:
    runs = load_runs(with_images[0])
    names = ["tiny-fake-s0-001001", "absent"]
    predictions = mask_gallery.read_predictions(runs, chosen(with_images[0]), names)
    assert predictions.labels == {"tiny-fake-s0-001001": "FPN {6, 12}, seed 0"}
    assert predictions.problems == ("gallery without absent: no record on toyplus_unc/val",)


def test_gallery_is_drawn_with_a_missing_image(with_images: tuple[Path, Path], tmp_path: Path) -> None:
    runs = load_runs(with_images[0])
    choice = chosen(with_images[0])
    truth = load_truth(with_images[1], choice.split)
    assert truth.mask(0).sum() == 400
    assert truth.image("absent.jpg") is None
    figure = mask_gallery.draw_gallery(mask_gallery.read_predictions(runs, choice), truth, "worst", choice)
    assert figure is not None
    small = save_pixels(figure, tmp_path, "worst", dpi=50)
    assert set(small) == {"light", "dark"}
    light, night = imread(tmp_path / "worst.png"), imread(tmp_path / "worst-dark.png")
    assert light.shape == night.shape
    assert light[0, 0, :3].mean() > 0.9
    assert night[0, 0, :3].mean() < 0.2


def write_attention(root: Path, run_id: str, components: tuple[str, ...] = attention.COMPONENTS) -> Path:
    folder = root / "attention" / run_id
    folder.mkdir(parents=True)
    arrays = {name: np.eye(8) for name in components}
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    path = folder / "0.npz"
    np.savez(path, image=image, expression="$x_1$ <b>", split="toyplus_unc/val", index=3, mask=image[..., 0], **arrays)
    return path


def test_attention_files_are_read_and_drawn(tmp_path: Path) -> None:
    write_attention(tmp_path, "a")
    write_attention(tmp_path, "b", ("encoder",))
    first, problems = attention.read_attention(tmp_path, "a")
    second, _ = attention.read_attention(tmp_path, "b")
    assert problems == []
    assert (first[0].expression, first[0].index, list(first[0].maps)) == ("$x_1$ <b>", 3, list(attention.COMPONENTS))
    assert second[0].prediction is None
    assert attention.draw_components(second, "one") is not None
    figure = attention.draw_runs({"A": first, "B": second}, "two")
    assert figure is not None
    save_pixels(figure, tmp_path, "attention", dpi=40)


def test_damaged_attention_files_are_one_line_each(tmp_path: Path) -> None:
    write_attention(tmp_path, "a").with_name("1.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "attention" / "a" / "2.npz", image=np.zeros((4, 4, 3), np.uint8))
    samples, problems = attention.read_attention(tmp_path, "a")
    assert len(samples) == 1
    assert len(problems) == 2
    assert any("lacks expression" in problem for problem in problems)


def test_dark_swaps_every_colour() -> None:
    assert dark(f"fill: {INK}") == f"fill: {DARK[INK]}"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("image", np.zeros((0, 4, 3), np.uint8)),
        ("image", np.zeros((4, 4), np.uint8)),
        ("encoder", np.full((2, 2), np.nan)),
        ("encoder", np.array("text")),
        ("mask", np.zeros((5, 4), bool)),
        ("index", np.array([1, 2])),
    ],
)
def test_arrays_that_cannot_be_drawn_are_left_out(name: str, values: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "attention" / "a"
    folder.mkdir(parents=True)
    arrays = {"image": np.zeros((4, 4, 3), np.uint8), "expression": "x", "split": "s/val", "index": 0}
    np.savez(folder / "0.npz", **arrays)
    np.savez(folder / "1.npz", **{**arrays, name: values})
    samples, problems = attention.read_attention(tmp_path, "a")
    assert len(samples) == 1
    (line,) = problems
    assert "1.npz" in line


def test_validation_curves_have_a_line_per_run_and_none_without_rows(tmp_path: Path) -> None:
    run_ids = synthetic_runs.write_runs(tmp_path, seeds=(0, 1))
    steps = {"split": "toyplus_unc/val", "epoch": 1, "samples": 5, "precision_at_50": 0.1, "seconds": 1.0}
    rows = pd.DataFrame(
        [{**steps, "step": step, "protocol": "original", "oiou": step / 10, "miou": 0.2} for step in (1, 2)]
    )
    write_table(validation_path(tmp_path, run_ids[0]), rows, VALIDATION_SCHEMA)
    validation_path(tmp_path, run_ids[1]).write_bytes(b"damaged")
    runs, problems = load_runs(tmp_path), list[str]()
    choice = select_runs(runs.records, runs.claims, list(synthetic_runs.FPN_VARIANTS), Wanted())
    read = read_validations(runs, choice, problems)
    assert sum(map(len, read.values())) == 1
    assert len(problems) == 1
    figure = validation_curves(read)
    assert figure is not None
    (line,) = figure.axes[0].lines
    assert list(line.get_xydata()[:, 1]) == [10.0, 20.0]
    assert validation_curves({}) is None


def test_pictures_are_of_what_was_prepared(toy_root: Path, tmp_path: Path) -> None:
    prepared = Path(shutil.copytree(toy_root, tmp_path / "prepared"))
    images = Path(shutil.copytree(load_truth(toy_root, "toyplus_unc/val").image_root, tmp_path / "images"))
    manifest = json.loads((prepared / "toyplus_unc" / "dataset.json").read_text())
    (prepared / "toyplus_unc" / "dataset.json").write_text(
        json.dumps({**manifest, "image_root": str(images), "image_folder": ""})
    )
    truth = load_truth(prepared, "toyplus_unc/val")
    name = str(truth.refs["file_name"].iloc[0])
    assert truth.image(name) is not None
    assert not truth.changed
    (images / name).write_bytes((images / name).read_bytes() + b"x")
    assert truth.image(name) is None
    assert list(truth.changed) == [name]
    rows = prepared / "toyplus_unc" / "val.parquet"
    rows.write_bytes(rows.read_bytes() + b"x")
    with pytest.raises(RecordError, match=r"val\.parquet was changed after it was prepared"):
        load_truth(prepared, "toyplus_unc/val")
