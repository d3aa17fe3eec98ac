"""A real browser for tests of MLflow's pages."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import browser

SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
needs_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
# MLflow opens a panel over its pages at the first visit.
_NO_PANEL = "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');" + (
    "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser for the block, in which MLflow shows its pages without its panel."""
    with browser.chromium(width=1500, height=1400) as driver:
        driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument", {"source": f"try {{ {_NO_PANEL} }} catch (e) {{}}"}
        )
        yield driver


def text_of(driver: Any) -> str:
    """Return the words on the page, also while the page is replaced."""
    return str(driver.execute_script("return document.body ? document.body.innerText : ''"))


def seconds_until(driver: Any, condition: Callable[[], bool], *, at_most: float = 60.0) -> float:
    """Wait until a condition of the page holds; return how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < at_most, text_of(driver)[:2000]
        time.sleep(0.05)
    return time.monotonic() - began


def save(driver: Any, name: str) -> None:
    """Write build/screenshots/NAME.png."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    assert driver.save_screenshot(str(SHOTS / f"{name}.png"))
