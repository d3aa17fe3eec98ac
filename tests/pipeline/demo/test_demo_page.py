"""The demo page opens from disk in a browser and gives the masks of `Predictor`, at once and without a network."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.cli.main import main
from pipeline.data.prepared.manifest import load_manifest
from pipeline.demo import runtime
from pipeline.evaluation.split_samples import split_of_model
from pipeline.model_export.samples import batches_of_split
from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import SavedModel, load_model, save_model
from sharedris.errors import InputError
from sharedris.image_input import resize_image
from sharedris.pixels import decode_image
from sharedris.predictor import Predictor
from tests.browser import chromium
from tests.conftest import TOY

SAMPLES = 50
NEAR = 1e-5
"""Of the threshold: two runtimes round a probability differently."""


def test_without_a_network_one_line_states_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"npm is not installed.*npm pack onnxruntime-web@.* and give --runtime"):
        runtime.load_runtime()
    (tmp_path / "other.tgz").write_bytes(b"not the runtime")
    with pytest.raises(InputError, match="its SHA-512 is another one"):
        runtime.load_runtime(tmp_path / "other.tgz")
    assert main(["demo", "no_such_run", "--out", str(tmp_path / "demo.htm")]) == 2
    assert "does not end in .html" in capsys.readouterr().err


@pytest.fixture(scope="module")
def saved(toy_root: Path, micro_model: ComparedModelConfig, tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    """A micro model with random weights, whose threshold divides its probabilities, so that masks have both values."""
    folder, tokenizer = tmp_path_factory.mktemp("model") / "micro", load_manifest(toy_root, TOY).tokenizer_path
    torch.manual_seed(0)
    model = build_model(micro_model).eval()
    save_model(folder, model, micro_model, tokenizer, 0.5, "micro")
    saved = load_model(folder)
    batch = next(batches_of_split(split_of_model(str(toy_root), f"{TOY}/val", saved), 4))
    with torch.inference_mode():
        image_BCHW = batch.inputs[0] / 127.5 - 1
        threshold = float(saved.model(image_BCHW, *batch.inputs[1:]).sigmoid().median())
    save_model(folder, model, micro_model, tokenizer, threshold, "micro")
    return load_model(folder)


@pytest.fixture(scope="module")
def page(saved: SavedModel, toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, as the command writes it."""
    try:
        runtime.load_runtime()
    except InputError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("demo") / "demo.html"
    words = ["demo", str(saved.tokenizer_path.parent), "--out", str(out), "--prepared", str(toy_root)]
    assert main([*words, "--examples", f"{TOY}/val"]) == 0
    return out


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Any]:
    """Chromium with the page open, and the model started."""
    with chromium(width=1280, height=900) as found:
        found.set_script_timeout(120)
        found.get(page.as_uri())
        wait(found, "return document.body.dataset.ready === 'yes'")
        yield found


def wait(browser: Any, condition: str) -> None:
    """Wait until a script answers true."""
    until = time.monotonic() + 120
    while not browser.execute_script(condition):
        assert time.monotonic() < until, browser.execute_script("return document.getElementById('status').textContent")
        time.sleep(0.1)


def mask_of(browser: Any, content: bytes, sentence: str) -> dict[str, Any]:
    """What the page answers to an image file and a sentence."""
    script = "maskOfFile(arguments[0], arguments[1]).then(arguments[2], (error) => arguments[2]({ error: `${error}` }))"
    found = browser.execute_async_script(script, base64.b64encode(content).decode(), sentence)
    assert "error" not in found, found
    return dict(found)


@pytest.mark.slow
def test_the_page_gives_the_masks_of_the_predictor(browser: Any, saved: SavedModel, toy_root: Path) -> None:
    dataset = split_of_model(str(toy_root), f"{TOY}/val", saved)
    predictor = Predictor.from_run(saved.tokenizer_path.parent)
    covered, different, pixels, milliseconds = 0, 0, 0, []
    for place in range(SAMPLES):
        info = dataset.info(place % len(dataset))
        sentence = info.expression if place < len(dataset) else f"{info.expression} number {place}"
        content = dataset.images.content(info.file_name)
        found = mask_of(browser, content, sentence)
        prediction = predictor.predict(Image.open(io.BytesIO(content)), sentence)
        expected = prediction.mask_HW
        assert (found["height"], found["width"]) == expected.shape
        # Random weights give nearly equal probabilities around the threshold, which is their median: rounding decides.
        near = np.abs(prediction.probability_HW - predictor.threshold).flatten() < NEAR
        differs = (np.array(list(found["mask"])) == "1") != expected.flatten()
        assert not (differs & ~near).any(), sentence
        different += int(differs.sum())
        pixels += differs.size
        covered += 0 < expected.sum() < expected.size
        milliseconds.append(found["ms"])
    assert covered >= SAMPLES // 2, "masks that are empty or full prove little"
    assert different <= pixels // 1_000, "a pixel at the threshold here and there"
    assert np.median(milliseconds) < 300


@pytest.mark.slow
def test_the_page_decodes_pictures_as_python(browser: Any, saved: SavedModel) -> None:
    size = saved.config.encoder.image_size
    colors = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    photo = Image.fromarray(colors).resize((130, 90), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x0112] = 6
    clear = photo.copy()
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    for picture, options, tolerance in (
        (photo, {"format": "PNG"}, 0),
        (photo, {"format": "JPEG", "quality": 90, "subsampling": 0}, 1),
        (photo, {"format": "JPEG", "quality": 90, "exif": turned}, 3),
        (clear, {"format": "PNG"}, 2),
        (photo.convert("L"), {"format": "PNG"}, 0),
        (photo, {"format": "WEBP", "lossless": True}, 0),
    ):
        stream = io.BytesIO()
        picture.save(stream, **options)
        found = mask_of(browser, stream.getvalue(), "the red circle")
        expected = resize_image(decode_image(stream.getvalue(), name="x"), size).flatten().numpy().astype(int)
        assert np.abs(np.array(found["planes"]) - expected).max() <= tolerance, options


@pytest.mark.slow
def test_the_page_works_by_keyboard_with_several_sentences_and_maps(browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    sentence = browser.find_element(By.ID, "sentence")
    wait(browser, "return document.querySelectorAll('#sentences li').length === 1")  # of the first example
    sentence.send_keys(Keys.ENTER)
    wait(browser, "return state.kept.length === 1")
    sentence.send_keys("the blue square жжж")
    wait(browser, "return document.querySelectorAll('#sentences li').length === 2")
    assert "not known to the model" in browser.find_element(By.ID, "sentences").text
    checkbox = browser.find_element(By.ID, "attention")
    checkbox.send_keys(Keys.SPACE)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#maps canvas")) == 3
    assert "% of the picture" in browser.find_element(By.ID, "canvas").get_attribute("aria-label")
    browser.find_element(By.CSS_SELECTOR, "#sentences button").send_keys(Keys.ENTER)
    wait(browser, "return document.querySelectorAll('#sentences li').length === 1")
    assert browser.switch_to.active_element.get_attribute("id") == "sentence"
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.slow
def test_a_file_that_is_no_picture_is_one_line(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    (tmp_path / "notes.txt").write_text("no picture")
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "notes.txt"))
    wait(browser, "return document.getElementById('status').classList.contains('error')")
    assert "notes.txt is not a picture that this browser reads" in browser.find_element(By.ID, "status").text
