"""The model of "A Simple Baseline with Single-encoder for Referring Image Segmentation", without the pipeline.

    from sharedris import Predictor, SharedRis, build_model, load_model

Each name is imported when it is first used, so that `import sharedris` takes no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharedris.build import build_model
    from sharedris.checkpoint import load_model
    from sharedris.hub import SharedRis
    from sharedris.predictor import Predictor

_PLACES = {
    "Predictor": "sharedris.predictor",
    "SharedRis": "sharedris.hub",
    "build_model": "sharedris.build",
    "load_model": "sharedris.checkpoint",
}

__all__ = ["Predictor", "SharedRis", "__version__", "build_model", "load_model"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("shared-ris")
        except PackageNotFoundError:  # a folder on the path, not installed
            return "0.0.0+unknown"
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'sharedris' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
