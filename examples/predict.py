"""Segment what a sentence describes: python examples/predict.py runs/models/RUN photo.jpg "the dog on the left"."""

import sys

from PIL import Image

from sharedris import Predictor


def main(model: str, image: str, sentence: str) -> None:
    """Write the mask next to the picture, and print how much of it the mask covers."""
    predictor = Predictor.from_pretrained(model)
    prediction = predictor.predict(image, sentence)
    Image.fromarray(prediction.mask_HW).save("mask.png")
    print(f"{100 * prediction.area_ratio:.1f} % of the picture is {sentence!r}: mask.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
