"""Predictions as JSON: an object per line, or one array of the same objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.data.readers.json_stream import iterate_elements, unique_keys
from pipeline.predictions.form import Prediction, prediction_of_fields
from sharedris.errors import InputError
from sharedris.regular_file import open_regular

_LONGEST_LINE = 64 << 20


def read_lines(path: Path) -> Iterator[Prediction]:
    """Yield the prediction of each line that is not empty.

    Raises:
        InputError: for a line that is not JSON, or is longer than 64 MiB.
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    with open_regular(path) as stream:
        number = 0
        while line := stream.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE:
                raise InputError(f"{path}:{number} has more than {_LONGEST_LINE} bytes", "Write an object per line")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield prediction_of_fields(decoder.decode(text), f"{path.name}:{number}")
            except (ValueError, RecursionError) as error:
                reason = (str(error).splitlines() or ["it is nested too deeply"])[0]
                raise InputError(f"{path}:{number} is not JSON: {reason}", "Write an object per line") from None


def read_array(path: Path) -> Iterator[Prediction]:
    """Yield the prediction of each element, read piece by piece.

    Raises:
        InputError: when the file is not one JSON array.
    """
    for number, entry in enumerate(iterate_elements(path)):
        yield prediction_of_fields(entry, f"{path.name}[{number}]")
