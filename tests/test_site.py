"""The documentation as a site: complete, built without a network, and readable from disk."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from docs.site.commands_page import HELP, PAGE, make_page
from tests.browser import chromium

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = re.compile(r"^(?:https?:)?//")
REFERENCE = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))


def test_the_page_of_commands_is_that_of_the_help() -> None:
    """Renew it by `python -m docs.site.commands_page`."""
    assert PAGE.read_text(encoding="utf-8") == make_page(HELP.read_text(encoding="utf-8"))


def test_the_page_of_commands_has_every_option() -> None:
    options = set(re.findall(r"^  (-{1,2}[a-z][\w.-]*)", HELP.read_text(encoding="utf-8"), re.MULTILINE))
    shown = set(re.findall(r"^\| (?:`|<code>)([\w.-]+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert options - shown == set()
    assert len(options) > 200


def test_the_navigation_has_every_page() -> None:
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    assert {page for page in pages if f" {page}\n" not in navigation} == set(), "name it below nav: in mkdocs.yml"


@pytest.mark.parametrize("path", sorted((ROOT / "sharedris").glob("*.py")), ids=lambda path: path.stem)
def test_the_reference_has_every_module_of_the_model(path: Path) -> None:
    shown = path.stem == "__init__" or f"::: sharedris.{path.stem}\n" in REFERENCE
    assert shown, f"name sharedris.{path.stem} on a page of docs/reference/"


def test_the_reference_has_every_registry() -> None:
    from sharedris.plugins import REGISTRIES

    assert [name for name in REGISTRIES if f"`{name}`" not in REFERENCE] == []


class Loads(HTMLParser):
    """The addresses that a page loads by itself: scripts, styles, images, frames; not what a reader clicks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.found += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(given.get("href", ""))


def loads_of(path: Path) -> list[str]:
    """What a file of the site loads from elsewhere."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".css":
        found = re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", text)
    else:
        parser = Loads()
        parser.feed(text)
        found = parser.found
    return [address for address in found if OUTSIDE.match(address)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://a.example/x.js"></script>'),
        ("a.html", '<link rel="stylesheet" href="//a.example/x.css">'),
        ("a.css", "@import 'https://a.example/x.css';"),
        ("a.css", "a { background: url(https://a.example/x.png) }"),
    ],
)
def test_a_load_from_elsewhere_is_found(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert len(loads_of(tmp_path / name)) == 1


def test_a_link_is_not_a_load(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="https://a.example">a</a><img src="x.png">')
    assert loads_of(tmp_path / "a.html") == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; a warning is an error."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed (pip install '.[docs]')")
    folder = tmp_path_factory.mktemp("site")
    no_network = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **no_network}
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 30
    assert {str(path): found for path in pages if (found := loads_of(path))} == {}


@pytest.mark.slow
def test_the_reference_shows_docstrings(site: Path) -> None:
    for page, name in (
        ("use", "sharedris.predictor.Predictor.predict_all"),
        ("formats", "pipeline.records.RunRecord"),
        ("registries", "sweeps.spec.Row"),
    ):
        assert f'id="{name}"' in (site / "reference" / f"{page}.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_site_is_read_and_searched_from_disk(site: Path) -> None:
    """In Chromium, from file:, on a desktop and on a phone: no request leaves the disk, and no page is too wide."""
    for width in (1280, 390):
        with chromium(width=width, height=800) as browser:
            for page in ("index", "roles/first-hour", "protocols", "commands", "reference/use"):
                browser.get(f"file://{site}/{page}.html")
                wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
                assert wide <= 1, f"{page} is {wide} pixels too wide at {width}"
                loaded = browser.execute_script(
                    "return performance.getEntriesByType('resource').map(each => each.name)"
                )
                assert [name for name in loaded if not name.startswith(("file:", "data:", "blob:"))] == []
            assert "boundary IoU" in "".join(search(browser, "boundary outlines"))
            assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def search(browser: Any, words: str) -> list[str]:
    """Return the texts of what a search finds; a phone shows a sign in place of the field."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    field = browser.find_element(By.CSS_SELECTOR, "[data-md-component=search-query]")
    if not field.is_displayed():
        browser.find_element(By.CSS_SELECTOR, "label.md-header__button[for=__search]").click()
    WebDriverWait(browser, 20).until(lambda _: field.is_displayed())
    field.click()
    field.send_keys(words)
    found = "return [...document.querySelectorAll('.md-search-result__item')].map(each => each.innerText)"
    return WebDriverWait(browser, 20).until(lambda each: each.execute_script(found))
