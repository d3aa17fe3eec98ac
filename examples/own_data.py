"""A data set of your own: python examples/own_data.py my_data, then sharedris train --data mine --prepared my_data."""

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from pipeline.data.prepared.prepare import counts_text, prepare_source
from pipeline.data.readers.custom import read_custom


def main(folder: str) -> None:
    """Draw two pictures, write a line of JSON for each object, and prepare them."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for split, color in (("train", "red"), ("val", "blue")):
        picture = Image.new("RGB", (120, 80), "white")
        ImageDraw.Draw(picture).rectangle((10, 20, 50, 60), fill=color)
        picture.save(root / f"{split}.png")
        outline = [10, 20, 51, 20, 51, 61, 10, 61]  # x and y of the corners, in pixels
        sentences = [f"the {color} square", f"a square that is {color}"]
        lines.append({"image": f"{split}.png", "split": split, "expressions": sentences, "polygons": [outline]})
    annotations = root / "refs.jsonl"
    annotations.write_text("".join(json.dumps(line) + "\n" for line in lines))
    prepared = prepare_source(read_custom(annotations, "mine"), root)
    print(counts_text(prepared.manifest))


if __name__ == "__main__":
    main(*sys.argv[1:])
