"""The explorer of samples: its masks, its filters in a real browser, and what cannot be shown."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.masks import encode_mask
from pipeline.records import SAMPLE_SCHEMA, write_table
from reports import explorer
from reports.__main__ import main
from reports.explorer import Explorer, build_explorer
from reports.ground_truth import load_truth
from reports.load import load_runs
from reports.run_selection import Wanted, select_runs
from reports.small_masks import grid_size, run_lengths, shrink
from tests.browser import chromium

SIDE = synthetic_runs.SIDE


def read_runs(content: bytes) -> tuple[list[int], int]:
    """Return the lengths of the first mask's runs and where it ends, as the page's script reads them."""
    at = 0
    numbers: list[int] = []
    while not numbers or len(numbers) <= numbers[0]:
        value = shift = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        numbers.append(value)
    return numbers[1:], at


@given(st.integers(1, 40), st.integers(1, 300), st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_run_lengths_give_the_mask_back(height: int, width: int, seed: int, share: float) -> None:
    mask_hw = np.random.default_rng(seed).random((height, width)) < share
    content = run_lengths(mask_hw)
    lengths, end = read_runs(content)
    assert end == len(content)
    found = np.zeros(height * width, dtype=bool)
    place = 0
    for turn, length in enumerate(lengths):
        found[place : place + length] = turn % 2 == 1
        place += length
    np.testing.assert_array_equal(found.reshape(width, height).T, mask_hw)


def test_a_small_object_keeps_a_cell_at_its_place() -> None:
    mask_HW = np.zeros((480, 640), dtype=bool)
    mask_HW[301:303, 601:603] = True
    small_hw = shrink(mask_HW, grid_size(480, 640, 48))
    assert small_hw.shape == (36, 48)
    assert np.argwhere(small_hw).tolist() == [[22, 45]]
    assert not shrink(np.zeros((480, 640), dtype=bool), (36, 48)).any()


def square(number: int, side: int) -> np.ndarray:
    mask_HW = np.zeros((SIDE, SIDE), dtype=bool)
    mask_HW[5 : 5 + side, 3 + number % 20 : 3 + number % 20 + side] = True
    return mask_HW


def write_masks(runs: Path) -> None:
    """Give every sample of every run a mask, and the first a hostile sentence."""
    for number, path in enumerate(sorted(runs.glob("samples/*/*/val.parquet"))):
        rows = pd.read_parquet(path)
        rows["mask_rle"] = [encode_mask(square(index, 10 + number)) for index in rows["index"]]
        rows.loc[0, "expression"] = "</script><script>document.title='owned'</script>"
        write_table(path, rows, SAMPLE_SCHEMA)


def write_prepared(folder: Path, runs: Path) -> None:
    """Write the refs of the samples and half of their images, as `sharedris prepare` lays them."""
    rows = pd.read_parquet(next(runs.glob("samples/*/toyplus_unc/val.parquet"))).drop_duplicates("ref_id")
    (folder / "images").mkdir(parents=True)
    for name in sorted(set(rows["file_name"]))[::2]:
        Image.new("RGB", (SIDE, SIDE), (90, 90, 120)).save(folder / "images" / name)
    refs = rows[["ref_id", "file_name", "height", "width"]].assign(
        mask_rle=[encode_mask(square(ref_id, 12)) for ref_id in rows["ref_id"]]
    )
    refs.to_parquet(folder / "val.parquet")
    manifest = {"image_root": str(folder / "images"), "image_folder": "images", "embedded": False}
    (folder / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of made-up runs, with hostile words as a sentence."""
    root = tmp_path_factory.mktemp("explored")
    synthetic_runs.write_runs(root / "runs")
    write_masks(root / "runs")
    write_prepared(root / "prepared" / "toyplus_unc", root / "runs")
    assert main(["explore", "--runs", str(root / "runs"), "--prepared", str(root / "prepared")]) == 0
    return root / "runs" / "report" / "samples.html"


def packed(page: str, element: str) -> bytes:
    found = re.search(rf'id="{element}">([^<]*)<', page)
    assert found is not None
    return zlib.decompress(base64.b64decode(found[1]))


def test_the_file_is_whole_and_fetches_nothing(explored: Path) -> None:
    page = explored.read_text(encoding="utf-8")
    index = json.loads(packed(page, "index"))
    assert len(index["sentence"]) == len(index["image"]) == len(index["iou"][0])
    assert len(index["runs"]) == 4
    assert sum(run["main"] for run in index["runs"]) == 1
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "http" not in page
    assert "owned" not in page


def test_masks_get_coarser_until_the_page_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic_runs.write_runs(tmp_path / "runs", samples=20, images=5)
    generator = np.random.default_rng(0)
    for path in tmp_path.glob("runs/samples/*/*/val.parquet"):
        rows = pd.read_parquet(path)
        rows["mask_rle"] = [encode_mask(generator.random((SIDE, SIDE)) < 0.5) for _ in rows["index"]]
        write_table(path, rows, SAMPLE_SCHEMA)
    write_prepared(tmp_path / "prepared" / "toyplus_unc", tmp_path / "runs")
    runs = load_runs(tmp_path / "runs")
    choice = select_runs(runs.records, runs.claims, list(synthetic_runs.FPN_VARIANTS), Wanted())
    truth = load_truth(tmp_path / "prepared", choice.split)

    def made(most_bytes: int) -> Explorer:
        monkeypatch.setattr(explorer, "MOST_BYTES", most_bytes)
        return build_explorer(runs, choice, truth, names=None, images="thumbnails", out=tmp_path)

    free = made(12_000_000)
    assert free.grid_side == SIDE
    assert "coarse" not in free.html
    most = len(free.html) - 15_000
    tight = made(most)
    assert tight.grid_side < SIDE
    assert len(tight.html) <= most
    assert f"on a grid of {tight.grid_side} cells on the longer side, so outlines are coarse" in tight.html


def test_images_by_path_are_relative(explored: Path, tmp_path: Path) -> None:
    root = explored.parent.parent.parent
    options = ["--runs", str(root / "runs"), "--prepared", str(root / "prepared"), "--out", str(tmp_path)]
    assert main(["explore", *options, "--images", "paths"]) == 0
    paths = json.loads(packed((tmp_path / "samples.html").read_text(encoding="utf-8"), "paths"))
    assert paths
    assert not any(path.startswith("/") for path in paths)


def test_a_run_that_is_not_there_is_one_line(explored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = explored.parent.parent.parent
    options = ["--runs", str(root / "runs"), "--prepared", str(root / "prepared"), "--masks-of", "nobody"]
    assert main(["explore", *options]) == 2
    assert "nobody" in capsys.readouterr().err


@pytest.fixture
def page_in_browser(explored: Path) -> Iterator[object]:
    """Return the opened page; afterwards, the browser's console must be empty."""
    from selenium.webdriver.support.ui import WebDriverWait

    with chromium(width=1300, height=900) as found:
        found.get(explored.as_uri())
        WebDriverWait(found, 20).until(
            lambda page: page.execute_script("return document.documentElement.dataset.ready")
        )
        yield found
        assert found.get_log("browser") == []


@pytest.mark.slow
def test_filters_order_and_keys_in_a_browser(page_in_browser: object) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    def run(script: str) -> object:
        return page_in_browser.execute_script(script)  # type: ignore[attr-defined]

    def until(script: str, value: object) -> None:
        WebDriverWait(page_in_browser, 20).until(lambda _: run(script) == value)

    current = "return document.documentElement.dataset.sample"
    until(current, "0")
    body = page_in_browser.find_element("css selector", "body")  # type: ignore[attr-defined]
    body.send_keys("j")
    until(current, "1")
    body.send_keys("k")
    until(current, "0")
    total = run("return document.querySelectorAll('#rows button').length")
    words = page_in_browser.find_element("css selector", "#words")  # type: ignore[attr-defined]
    words.send_keys("no such word anywhere")
    until("return document.querySelectorAll('#rows button').length", 0)
    words.clear()
    run("document.querySelector('#words').dispatchEvent(new Event('input', {bubbles: true}))")
    until("return document.querySelectorAll('#rows button').length", total)
    order = "document.querySelector('#order').value='worst';"
    run(order + "document.querySelector('#order').dispatchEvent(new Event('input', {bubbles: true}))")
    scores = "return [...document.querySelectorAll('#rows small')].map((s) => parseFloat(s.textContent))"
    found = run(scores)
    assert found == sorted(found)  # type: ignore[type-var, call-overload]
    drawn = (
        "const c = document.querySelector('#truth'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height)"
        ".data; for (let i = 0; i < d.length; i += 4) if (d[i + 1] > d[i] + 40) return true; return false"
    )
    until(drawn, True)
