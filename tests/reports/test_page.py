"""The page: self-contained, escaped, and clicked through in a real browser without a console error."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import synthetic_runs

from pipeline.records import RECORD_SCHEMA, read_table, record_path, write_table
from reports.__main__ import main
from reports.build import build_tables
from reports.overview import has_own_numbers
from reports.paper import NUMERALS
from reports.run_selection import Wanted
from tests.browser import chromium

EVIL = "<script>document.title='owned'</script>\\input{secret}"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of made-up runs, one of them with a script in its data."""
    root = tmp_path_factory.mktemp("page")
    synthetic_runs.write_runs(root, seeds=(0, 1))
    synthetic_runs.write_costs(root)
    path = record_path(root, "tiny-fake-s1-001003")
    rows = read_table(path, RECORD_SCHEMA).drop(columns="schema_version")
    write_table(
        path, rows.assign(hardware_json=EVIL, git_commit=EVIL, config_json=f'{{"x": "{EVIL[:20]}"}}'), RECORD_SCHEMA
    )
    assert main(["all", "--runs", str(root), "--prepared", str(root)]) == 0
    return root / "report" / "index.html"


def test_nothing_is_loaded_from_outside(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html) == []
    assert "@import" not in html
    assert "url(" not in re.sub(r"url\(#\w+\)", "", html)
    assert page.stat().st_size < 10e6


def test_text_from_data_is_escaped(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "<script>document.title" not in html
    assert "&lt;script&gt;document.title" in html
    assert html.count("<script") == 1


def test_links_lead_to_what_is_there_and_tables_without_runs_are_folded(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    there = set(re.findall(r'id="([^"]+)"', html))
    linked = set(re.findall(r'href="#([^"]+)"', html))
    assert len(linked) > 40
    assert linked <= there
    folded = {name for name in NUMERALS if re.search(rf'id="part-{name}" data-part>\s*<details class="folded">', html)}
    built = build_tables(page.parent.parent, list(NUMERALS), Wanted(), statistics=False).built
    assert folded == {each.table.name for each in built if not has_own_numbers(each)}
    # Each picture leads to its tables, and they to it.
    assert 'href="#figure-scores-VII"' in html
    assert html.count('href="#part-VII">Its table') == 1
    sections = dict(re.findall(r'<section class="card" id="part-([^"]+)"(.*?)</section>', html, re.DOTALL))
    for name, content in sections.items():
        pictures = re.findall(r'href="#figure-([^"]+)"', content)
        assert pictures or name == "no_target"
        for picture in pictures:
            (caption,) = re.findall(rf'id="figure-{picture}".*?<figcaption>(.*?)</figcaption>', html, re.DOTALL)
            assert f'href="#part-{name}"' in caption


def test_the_first_screen_has_the_recipe_in_words_and_what_could_be_seen(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    first = html[: html.index("<summary>On the paper as a whole")]
    assert re.search(r"Recipe of every table: tiny, 5 epochs\. Trained on toyplus_unc, seeds 0, 1\. Scored on", first)
    assert "cafe00000001" not in first, "a recipe by its hash"
    seen = re.search(
        r"Table VII: two rows have to differ by oIoU (\d+\.\d\d) or mIoU (\d+\.\d\d) points .*"
        r" paired by image; variation measured",
        first,
    )
    assert seen is not None
    note = html[html.index('id="part-VII"') :].partition("Smallest visible difference of two rows")[2][:400]
    assert f"oIoU {seen[1]} points" in note
    assert f"mIoU {seen[2]} points" in note


def test_every_table_is_there_with_its_copies(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for numeral in ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"):
        assert f'id="table-{numeral}"' in html
        assert f'id="latex-{numeral}"' in html
    assert "{4, 8, 12}" in html
    assert "not run" in html
    assert "not built" in html


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Return a headless Chromium."""
    with chromium(width=1300, height=1000) as found:
        yield found


class Clicks:
    """A few short words for what the test does with the page."""

    def __init__(self, driver: object, page: Path) -> None:
        self.driver = driver
        driver.get(page.as_uri())  # type: ignore[attr-defined]
        assert self.run("return document.documentElement.dataset.ready") == "yes"

    def run(self, script: str) -> object:
        return self.driver.execute_script(script)  # type: ignore[attr-defined]

    def click(self, selector: str) -> None:
        element = self.driver.find_element("css selector", selector)  # type: ignore[attr-defined]
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        element.click()

    def keys(self, text: str) -> None:
        self.driver.switch_to.active_element.send_keys(text)  # type: ignore[attr-defined]

    def column(self, number: int) -> list[str]:
        rows = "[...document.querySelectorAll('#table-VII tbody:first-of-type tr:not(.section)')]"
        return list(self.run(f"return {rows}.map((row) => row.children[{number}].textContent)"))  # type: ignore[call-overload]


@pytest.fixture
def clicks(browser: object, page: Path) -> Iterator[Clicks]:
    """Return the opened page; afterwards, the browser's console must be empty."""
    found = Clicks(browser, page)
    yield found
    assert browser.get_log("browser") == []  # type: ignore[attr-defined]


def test_tables_sort_within_their_part_and_go_back(clicks: Clicks) -> None:
    labels = clicks.column(0)
    button = "#table-VII th[data-column='7'] button"
    clicks.click(button)
    assert clicks.column(7) == ["68.42", "68.13", "67.74", "66.25"]
    clicks.click(button)
    assert clicks.column(7) == ["66.25", "67.74", "68.13", "68.42"]
    head = "return document.querySelector(\"#table-VII th[data-column='7']\").getAttribute('aria-sort')"
    assert clicks.run(head) == "ascending"
    clicks.click(button)
    assert clicks.column(0) == labels


def test_latex_is_copied(clicks: Clicks) -> None:
    clicks.click("[data-copy='latex-VII']")
    deadline = time.monotonic() + 5
    while not (copied := clicks.run("return document.documentElement.dataset.copied")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "\\begin{tabular}" in str(copied)
    assert "68.42" in str(copied)


def test_a_number_leads_to_its_runs_and_their_provenance(clicks: Clicks) -> None:
    clicks.click("#table-VII a.run")
    links = clicks.run("return [...document.querySelectorAll('#runs-of a')].map((link) => link.textContent)")
    assert links == ["tiny-fake-s0-001000", "tiny-fake-s1-001000"]
    clicks.click("#runs-of li:last-child a")
    assert clicks.run("return document.querySelector('#runs-of').open") is False
    assert clicks.run("return document.getElementById('run-tiny-fake-s1-001000').open") is True
    text = clicks.run("return document.getElementById('run-tiny-fake-s1-001000').textContent")
    assert "0123456789abcdef" in str(text)
    assert "fake" in str(text)


def test_pictures_zoom_and_turn_by_keyboard(clicks: Clicks) -> None:
    from selenium.webdriver.common.keys import Keys

    clicks.click("button.zoom")
    title = "return document.querySelector('#zoom strong').textContent"
    width = "return document.querySelector('#zoom .stage').getBoundingClientRect().width"
    first, size = clicks.run(title), clicks.run(width)
    clicks.keys("+")
    assert clicks.run(width) > size
    clicks.keys(Keys.ARROW_RIGHT)
    assert clicks.run(title) != first
    assert clicks.run("return document.querySelector('#zoom .stage').children.length") > 0
    clicks.keys(Keys.ESCAPE)
    assert clicks.run("return document.querySelector('#zoom').open") is False


def test_keyboard_moves_switches_theme_filters_and_helps(clicks: Clicks) -> None:
    from selenium.webdriver.common.keys import Keys

    before = clicks.run("return document.documentElement.dataset.theme")
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = clicks.run(colour)
    clicks.keys("t")
    assert clicks.run("return document.documentElement.dataset.theme") != before
    assert clicks.run(colour) != light
    clicks.keys("?")
    assert clicks.run("return document.querySelector('#help').open") is True
    clicks.keys(Keys.ESCAPE)
    clicks.keys("/")
    clicks.keys("s1-001")
    shown = "return [...document.querySelectorAll('details.run')].filter((box) => !box.hidden).length"
    assert clicks.run(shown) == 4


def test_scripts_in_data_did_not_run(clicks: Clicks) -> None:
    assert clicks.run("return document.title") != "owned"


def test_a_phone_scrolls_tables_and_not_the_page(clicks: Clicks, browser: object) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)  # type: ignore[attr-defined]
    try:
        assert clicks.run("return document.documentElement.scrollWidth <= window.innerWidth") is True
        wide = "return document.querySelector('#table-I').closest('.scroll')"
        assert clicks.run(f"{wide}.scrollWidth > {wide.removeprefix('return ')}.clientWidth") is True
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # type: ignore[attr-defined]


def test_printing_leaves_out_the_controls(clicks: Clicks, browser: object) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})  # type: ignore[attr-defined]
    try:
        assert clicks.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
        assert clicks.run("return getComputedStyle(document.querySelector('.actions')).display") == "none"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})  # type: ignore[attr-defined]


def test_history_of_the_fixture_is_whole(page: Path) -> None:
    records = [pd.read_parquet(path) for path in (page.parents[1] / "records").glob("*.parquet")]
    assert len(records) == 8
