"""Model folders on the Hugging Face Hub: the same three files as on disk, and a model card.

    model = SharedRis.from_pretrained("user/name")  # or a folder: runs/models/RUN
    model.save_pretrained("folder")
    model.push_to_hub("user/name")

Only weights, config, tokenizer and card are fetched; none of them can contain code, and none is run.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, snapshot_download
from huggingface_hub.errors import HFValidationError

from sharedris import model as architecture
from sharedris.checkpoint import CONFIG, TOKENIZER, WEIGHTS, SavedModel, load_model
from sharedris.errors import InputError
from sharedris.finite_weights import require_finite
from sharedris.safetensors_file import write_safetensors

CARD = "README.md"
FILES = (WEIGHTS, CONFIG, TOKENIZER, CARD)
LIBRARY, TASK = "shared-ris", "image-segmentation"
TAGS = ("referring-image-segmentation", "shared-ris", "vision-language")


def fetch_model_folder(
    name: Path | str,
    *,
    revision: str | None = None,
    cache_dir: Path | str | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Return a model folder: the one that is named, or that of a Hub id, downloaded where the cache lacks it.

    Raises:
        InputError: when it is neither, or the Hub does not answer.
    """
    if Path(name).is_dir():
        return Path(name)
    remedy = "Give a model folder (runs/models/RUN), or the id of a model on the Hub (user/name)"
    try:
        folder = snapshot_download(
            str(name),
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=list(FILES),
        )
    except HFValidationError:
        raise InputError(f"{name} is not a folder, and not the id of a model", remedy) from None
    except Exception as error:  # its own errors, and those of the HTTP library that its version is built on
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{name} is not a folder, and cannot be fetched from the Hub: {reason}", remedy) from None
    return Path(folder)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The files of the folder that a model was read from, apart from its weights; they are written as they were."""

    run_id: str
    threshold: float
    config: bytes
    tokenizer: bytes
    card: str | None


class SharedRis(architecture.SharedRis, ModelHubMixin):
    """The model with the methods of the Hub; `build_model` gives it without, since it has no tokenizer yet."""

    origin: Origin

    @classmethod
    def of(cls, saved: SavedModel) -> SharedRis:
        """Return the model that `load_model` read, with these methods.

        Raises:
            InputError: for a system that a plugin adds, which may be any module.
        """
        if not isinstance(saved.model, architecture.SharedRis):
            raise InputError(f"{saved.run_id} is a system of a plugin", "Load it by sharedris.load_model")
        folder = saved.tokenizer_path.parent
        card = folder / CARD
        saved.model.__class__ = cls
        model: Any = saved.model
        model.origin = Origin(
            run_id=saved.run_id,
            threshold=saved.threshold,
            config=(folder / CONFIG).read_bytes(),
            tokenizer=saved.tokenizer_path.read_bytes(),
            card=card.read_text() if card.is_file() else None,
        )
        assert isinstance(model, cls)
        return model

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the mixin passes fields of config.json to __init__
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        device: str | torch.device = "cpu",
    ) -> SharedRis:
        """Return the model of a folder or a Hub id, in evaluation mode.

        Raises:
            InputError: when it is neither, a file is damaged, or its plugins are not loaded in the same form.
        """
        folder = fetch_model_folder(
            pretrained_model_name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        return cls.of(load_model(folder, device))

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the three files, each in one step; other files of the folder stay."""
        weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.state_dict().items()}
        require_finite(weights, f"the model of {self.origin.run_id}", "Load it again")
        partial = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=save_directory))
        try:
            write_safetensors(weights, partial / WEIGHTS)
            (partial / TOKENIZER).write_bytes(self.origin.tokenizer)
            (partial / CONFIG).write_bytes(self.origin.config)
            for name in (WEIGHTS, TOKENIZER, CONFIG):
                (partial / name).replace(save_directory / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the card of the folder that the model was read from, or a short one without scores."""
        if self.origin.card is not None:
            return ModelCard(self.origin.card)
        data = ModelCardData(library_name=LIBRARY, pipeline_tag=TASK, tags=list(TAGS))
        variant = json.loads(self.origin.config).get("model", {}).get("scale", "")
        text = (
            f"# {self.origin.run_id}\n\nA Shared-RIS model ({variant} scale) for referring image segmentation. "
            "Its record was not at hand when this folder was written: scores, training data and their licenses are "
            "not stated here. `sharedris export RUN --format hub` writes a card from the record.\n"
        )
        return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")
