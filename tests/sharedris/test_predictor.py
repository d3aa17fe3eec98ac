"""A saved model predicts from any image; wrong folders and wrong images are one clear line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sharedris.baselines.config import ComparedModelConfig
from sharedris.build import build_model
from sharedris.checkpoint import load_model, save_model
from sharedris.errors import InputError
from sharedris.overlay import draw_attention, draw_overlay
from sharedris.predictor import Predictor, image_tensor, open_image
from sharedris.sentencepiece_tokenizer import SentencePieceTokenizer, train_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, micro_model: ComparedModelConfig) -> Path:
    root = tmp_path_factory.mktemp("models")
    train_tokenizer([f"the {word} one on the left" for word in ("red", "green", "blue")], root / "t.model", 1024)
    torch.manual_seed(0)
    save_model(root / "run", build_model(micro_model), micro_model, root / "t.model", 0.35, "run")
    return root / "run"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_prediction_has_the_images_size(folder: Path, photo: Path) -> None:
    prediction = Predictor.from_run(folder).predict(photo, "the red one")
    assert prediction.probability_HW.shape == prediction.mask_HW.shape == (40, 70)
    assert prediction.probability_HW.dtype == np.float32
    assert np.array_equal(prediction.mask_HW, prediction.probability_HW > 0.35)
    assert prediction.attention_GG == {}


def test_sentences_together_equal_sentences_alone(folder: Path, photo: Path) -> None:
    predictor = Predictor.from_run(folder)
    sentences = ["the red one", "left", "the blue one on the left", "one"] * 3
    together = predictor.predict_all(photo, sentences, attention=True)
    assert [prediction.sentence for prediction in together] == sentences
    for prediction in together[:4]:
        alone = predictor.predict(photo, prediction.sentence)
        np.testing.assert_allclose(prediction.probability_HW, alone.probability_HW, atol=1e-5)
        assert list(prediction.attention_GG) == ["encoder", "fpn", "decoder"]


def test_saved_model_is_the_same_model(folder: Path, micro_model: ComparedModelConfig, tmp_path: Path) -> None:
    saved = load_model(folder)
    assert saved.config == micro_model
    assert (saved.threshold, saved.run_id, saved.model.training) == (0.35, "run", False)
    save_model(tmp_path / "run", saved.model, saved.config, saved.tokenizer_path, 0.5, "second")
    save_model(tmp_path / "run", saved.model, saved.config, saved.tokenizer_path, 0.5, "third")  # in its place
    again = load_model(tmp_path / "run")
    assert again.run_id == "third"
    for name, tensor in saved.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # nothing half-written is left


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"precision": None}, None),
        ({"precision": "int8"}, "unknown precision 'int8'"),
        ({"threshold": None}, "threshold"),
    ],
    ids=["without precision", "another precision", "without threshold"],
)
def test_what_a_folder_says_of_its_scoring_is_checked(
    folder: Path, tmp_path: Path, change: dict[str, str | None], refused: str | None
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    values = {**json.loads((copy / "config.json").read_text()), **change}
    (copy / "config.json").write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    if refused is None:
        assert load_model(copy).precision == "fp32"
        return
    with pytest.raises(InputError, match=refused):
        load_model(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.model"])
def test_a_damaged_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / name).write_bytes(b"{}")
    with pytest.raises(InputError, match=name):
        Predictor.from_run(copy)
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}"):
        Predictor.from_run(copy)


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    values = json.loads((copy / "config.json").read_text())
    values["model"]["decoder"]["layers"] = 2
    (copy / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="does not fit its config"):
        Predictor.from_run(copy)


def test_a_vocabulary_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, micro_model: ComparedModelConfig
) -> None:
    words = ["".join(chr(0x4E00 + 40 * row + column) for column in range(40)) for row in range(40)]
    train_tokenizer(words, tmp_path / "large.model", 3000)
    with pytest.raises(InputError, match="the model has 1024"):
        Predictor(load_model(folder).model, SentencePieceTokenizer(tmp_path / "large.model", 20))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[:, :10] = 255  # white on the left, as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter to the right: white on top
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    image = open_image(tmp_path / "turned.png")
    assert image.size == (20, 30)
    assert np.asarray(image)[:8].min() == 255
    assert np.asarray(image)[12:].max() == 0


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 32896, dtype=np.uint16))
    else:
        image = Image.new("RGB", (8, 8), (128, 128, 128)).convert(mode)
    path = tmp_path / f"image.{'tiff' if mode == 'CMYK' else 'png'}"
    image.save(path)
    opened = open_image(path)
    assert opened.mode == "RGB"
    if mode != "1":
        assert abs(int(np.asarray(opened).mean()) - 128) <= 2


def test_pixels_are_normalised() -> None:
    image = Image.new("RGB", (9, 5), (0, 255, 51))
    tensor = image_tensor(image, 32)
    assert tensor.shape == (3, 32, 32)
    torch.testing.assert_close(tensor[:, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_bad_images_are_refused(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:3000])
    with pytest.raises(InputError, match="text.jpg does not decode: not an image"):
        open_image(tmp_path / "text.jpg")
    with pytest.raises(InputError, match="cut.png does not decode: image file is truncated"):
        open_image(tmp_path / "cut.png")
    with pytest.raises(InputError, match="does not exist"):
        open_image(tmp_path / "nowhere.jpg")
    monkeypatch.setattr("sharedris.pixels.MAX_PIXELS", 2000)
    with pytest.raises(InputError, match="70 x 40 pixels are too many"):
        open_image(photo)


def test_an_image_without_pixels_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="0x5 pixels"):
        Predictor.from_run(folder).predict(Image.new("RGB", (0, 5)), "the red one")


def test_pictures_show_mask_and_maps(folder: Path, photo: Path) -> None:
    predictions = Predictor.from_run(folder).predict_all(photo, ["the red one", "left"], attention=True)
    image = open_image(photo)
    overlay = draw_overlay(image, predictions)
    assert overlay.width == 70
    assert overlay.height > 40  # a legend line for each sentence
    panel = draw_attention(image, predictions[0])
    assert panel.width == 4 * (560 + 4) - 4  # mask, encoder, FPN, decoder


@pytest.mark.parametrize("sentence", ["", "  ", "...", "\u200b"])
def test_a_sentence_without_words_is_refused(sentence: str, folder: Path, photo: Path) -> None:
    with pytest.raises(InputError, match="has no words"):
        Predictor.from_run(folder).predict_all(photo, ["the red one", sentence])


def test_a_prediction_counts_what_was_not_read(folder: Path, photo: Path) -> None:
    known, capitals, strange = Predictor.from_run(folder).predict_all(photo, ["the red one", "The Red One", "red 犬"])
    assert known.unknown_pieces.unknown == 0
    assert (capitals.unknown_pieces.unknown, capitals.unknown_pieces.in_lower_case) == (3, 0)
    assert "pieces unknown ('犬')" in str(strange.unknown_pieces)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(
    value: float, folder: Path, micro_model: ComparedModelConfig, tmp_path: Path
) -> None:
    model = build_model(micro_model)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = value
    with pytest.raises(InputError, match="the model of run has NaN or infinite weights in"):
        save_model(tmp_path / "run", model, micro_model, folder / "tokenizer.model", 0.35, "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('{"threshold": 7}', "threshold 7 is no probability"),
        ('{"threshold": "0.5"}', "threshold: '0.5' is refused"),
        ('{"threshold": NaN}', "threshold: nan is not a finite number"),
        ('{"threshold": 1e400}', "threshold: inf is not a finite number"),
        ('{"run_id": [1]}', "run_id: "),
        ("[" * 100_000, "is not the config of a model: maximum recursion depth"),
        ('{"width": 1000000000, "heads": 1}', "config.json asks for a model that cannot be built"),
        ('{"vocabulary_size": 1000000000000}', "the config asks for .* numbers, the file holds"),
    ],
)
def test_values_of_a_folder_that_was_changed_are_refused(text: str, refused: str, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "run"))
    values = json.loads((copy / "config.json").read_text())
    if text.startswith("{"):
        change = json.loads(text)
        part = values["model"]["encoder"] if set(change) <= set(values["model"]["encoder"]) else values
        part.update(change)
        text = json.dumps(values)
    (copy / "config.json").write_text(text)
    with pytest.raises(InputError, match=refused):
        load_model(copy)


def test_weights_as_integers_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "run"))
    weights = load_file(copy / "model.safetensors")
    save_file({name: tensor.to(torch.int8) for name, tensor in weights.items()}, copy / "model.safetensors")
    with pytest.raises(InputError, match=r"model.safetensors holds .* as torch.int8"):
        load_model(copy)
