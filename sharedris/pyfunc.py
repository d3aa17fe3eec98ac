"""A trained model as MLflow loads it: images and sentences in, masks out.

    model = mlflow.pyfunc.load_model("models:/NAME@best")
    model.predict(pandas.DataFrame({"image": [Path("photo.jpg").read_bytes()], "sentence": ["the dog on the left"]}))

The file `MLmodel` names this module, and MLflow imports it from the installed project. The model's own files hold
weights, a config and a tokenizer, none of which can contain code. Stored models name it: do not rename it.
"""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from sharedris.errors import InputError
from sharedris.pixels import decode_image
from sharedris.predictor import Prediction, Predictor

INPUTS = ("image", "sentence")


class MaskModel:
    """What `mlflow.pyfunc` wraps.

    Args:
        predictor: of the model's folder.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: pd.DataFrame, params: object = None) -> pd.DataFrame:
        """Return a mask for each row: `mask_png`, a PNG of the image's size with 255 in the mask, and `area_ratio`.

        Args:
            model_input: columns `image`, the bytes of an image file, and `sentence`.
            params: accepted because MLflow may pass it; not used.

        Raises:
            InputError: when a column is missing, an image cannot be read, or a sentence has no words.
        """
        missing = [name for name in INPUTS if name not in model_input]
        if missing:
            raise InputError(
                f"the input has no column {', '.join(missing)}", f"Give the columns {' and '.join(INPUTS)}"
            )
        rows = zip(model_input["image"], model_input["sentence"], strict=True)
        predictions = [self._predict(content, sentence, row) for row, (content, sentence) in enumerate(rows)]
        return pd.DataFrame(
            {
                "mask_png": [_png(prediction) for prediction in predictions],
                "area_ratio": [prediction.area_ratio for prediction in predictions],
            }
        )

    def _predict(self, content: bytes, sentence: str, row: int) -> Prediction:
        image = Image.fromarray(decode_image(content, name=f"the image of row {row}"))
        return self.predictor.predict(image, sentence)


def _load_pyfunc(data_path: str) -> MaskModel:
    """Return the model of a folder; MLflow calls it by this name."""
    return MaskModel(Predictor.from_run(Path(data_path), "cuda" if torch.cuda.is_available() else "cpu"))


def _png(prediction: Prediction) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(prediction.mask_HW.astype("uint8") * 255).save(stream, format="PNG")
    return stream.getvalue()
