"""Use a trained model without the pipeline: image and sentence in, probability map and mask out.

    predictor = Predictor.from_run("runs/models/RUN")
    prediction = predictor.predict("photo.jpg", "the dog on the left")
    prediction.mask_HW  # bool, at the photo's own size

Shapes: B sentences, H and W sides of the given image, G side of the patch grid, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sharedris.attention_maps import forward_with_attention
from sharedris.checkpoint import load_model
from sharedris.errors import InputError
from sharedris.image_input import normalize, resize_image
from sharedris.model import SharedRis
from sharedris.pixels import MAX_FILE_BYTES, decode_image, rgb_pixels
from sharedris.regular_file import UnreadableFileError, read_regular
from sharedris.tokenizer import Tokenizer, UnknownPieces, has_words
from sharedris.tokenizers import open_tokenizer, require_fit

SENTENCES_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The model's output for one sentence."""

    sentence: str
    probability_HW: np.ndarray  # float32, 0 .. 1
    mask_HW: np.ndarray  # bool, probability above the threshold
    attention_GG: dict[str, np.ndarray] = field(default_factory=dict)  # component -> weights over the patches
    unknown_pieces: UnknownPieces = field(default_factory=UnknownPieces)  # what the tokenizer does not know

    @property
    def area_ratio(self) -> float:
        """Share of the image that the mask covers."""
        return float(self.mask_HW.mean())


class Predictor:
    """A model in evaluation mode with its tokenizer.

    Args:
        model: on the device to run on.
        tokenizer: the one that the model was trained with.
        threshold: probability above which a pixel belongs to the mask.

    Raises:
        InputError: when the tokenizer has more ids than the model has rows.
    """

    def __init__(self, model: SharedRis, tokenizer: Tokenizer, threshold: float = 0.35) -> None:
        require_fit(tokenizer, model.config.vocabulary_size)
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.threshold = threshold

    @classmethod
    def from_run(cls, folder: Path | str, device: str | torch.device = "cpu") -> Predictor:
        """Return the predictor of a model folder (`runs/models/RUN`).

        Raises:
            InputError: when it is not a model folder.
        """
        saved = load_model(Path(folder), device)
        tokenizer = open_tokenizer(saved.tokenizer_path, saved.config.encoder.text_tokens)
        return cls(saved.model, tokenizer, saved.threshold)

    @classmethod
    def from_pretrained(cls, name: Path | str, device: str | torch.device = "cpu") -> Predictor:
        """Return the predictor of a model folder or of a model on the Hugging Face Hub (`user/name`).

        Raises:
            InputError: when it is neither, or the Hub does not answer.
        """
        from sharedris.hub import fetch_model_folder  # imports a client of the network

        return cls.from_run(fetch_model_folder(name), device)

    def predict(self, image: Image.Image | Path | str, sentence: str, *, attention: bool = False) -> Prediction:
        """Return the prediction for one sentence."""
        return self.predict_all(image, [sentence], attention=attention)[0]

    def predict_all(
        self, image: Image.Image | Path | str, sentences: Sequence[str], *, attention: bool = False
    ) -> list[Prediction]:
        """Return a prediction for each sentence, in their order; `attention` adds the attention maps.

        Raises:
            InputError: when the image cannot be read, is empty or too large, a sentence has no words, or the model
                answers NaN.
        """
        for sentence in sentences:
            if not has_words(sentence) or not self.tokenizer.pieces(sentence):
                raise InputError(f"the sentence {sentence!r} has no words", "Describe the object in words")
        image = open_image(image) if isinstance(image, (str, Path)) else upright_rgb(image)
        image_1CHW = image_tensor(image, self.model.config.encoder.image_size)[None]
        predictions: list[Prediction] = []
        for start in range(0, len(sentences), SENTENCES_AT_ONCE):
            chunk = sentences[start : start + SENTENCES_AT_ONCE]
            predictions += self._predict_chunk(image_1CHW, image.size, chunk, attention)
        return predictions

    @torch.inference_mode()
    def _predict_chunk(
        self, image_1CHW: Tensor, size_WH: tuple[int, int], sentences: Sequence[str], attention: bool
    ) -> list[Prediction]:
        device = next(self.model.parameters()).device
        encoded = [self.tokenizer.encode(sentence) for sentence in sentences]
        token_ids_BT = torch.from_numpy(np.stack([ids for ids, _ in encoded])).to(device)
        padding_BT = torch.from_numpy(np.stack([padding for _, padding in encoded])).to(device)
        image_BCHW = image_1CHW.to(device).expand(len(sentences), -1, -1, -1)
        if attention:
            logits_BHW, maps = forward_with_attention(self.model, image_BCHW, token_ids_BT, padding_BT)
        else:
            logits_BHW, maps = self.model(image_BCHW, token_ids_BT, padding_BT), {}
        if logits_BHW.isnan().any():
            raise InputError("the model answers NaN for this image", "Its weights are too large: train it again")
        predictions = []
        for index, sentence in enumerate(sentences):  # one at a time: a full-size map may need 400 MB
            small_11HW = logits_BHW[index, None, None].sigmoid()
            probability_11HW = functional.interpolate(small_11HW, size_WH[::-1], mode="bilinear")
            probability_HW = probability_11HW[0, 0].cpu().numpy()
            predictions.append(
                Prediction(
                    sentence=sentence,
                    probability_HW=probability_HW,
                    mask_HW=probability_HW > self.threshold,
                    attention_GG={name: map_BGG[index].cpu().numpy() for name, map_BGG in maps.items()},
                    unknown_pieces=self.tokenizer.unknown_pieces([sentence]),
                )
            )
        return predictions


def open_image(path: Path | str) -> Image.Image:
    """Return an image file as RGB and upright; see `sharedris.pixels`.

    Raises:
        InputError: when the file is missing, not a regular file, not an image, damaged, empty or too large.
    """
    try:
        content = read_regular(Path(path), most_bytes=MAX_FILE_BYTES)
    except UnreadableFileError as error:
        if not error.missing:
            raise
        raise InputError(f"{path} does not exist", "Check the path") from None
    return Image.fromarray(decode_image(content, name=str(path)))


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an image as RGB with its EXIF orientation applied.

    Raises:
        InputError: when it has no pixels, too many, or pixels that are not read.
    """
    return Image.fromarray(rgb_pixels(image, name="the image"))


def image_tensor(image: Image.Image, image_size: int) -> Tensor:
    """Return an RGB image as the model's input, float (3, S, S), exactly as in training and evaluation."""
    return normalize([resize_image(np.array(image, dtype=np.uint8), image_size)])[0]
