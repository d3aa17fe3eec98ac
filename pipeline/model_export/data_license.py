"""What is known about the licenses of the data that a model was trained on, in words for its card."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.data.catalog import SETS

_SYNTHETIC = "drawn by this project's code; MIT, as the project"
_COCO = (
    "photographs of COCO under the Flickr license of each (`licenses` of COCO's annotation files); COCO's annotations "
    "CC BY 4.0; the files of the referring expressions state no license"
)
_UNKNOWN = "not known to this project; ask whoever made the set"


def license_of(set_name: str) -> str:
    """Return what is known about the license of a set."""
    if set_name.startswith("toy"):
        return _SYNTHETIC
    return _COCO if set_name in SETS and SETS[set_name].family == "coco" else _UNKNOWN


def model_license(train_sets: Iterable[str]) -> str:
    """Return the license identifier of a card: weights of synthetic data are the project's, others are not ours."""
    return "mit" if all(name.startswith("toy") for name in train_sets) else "other"
