"""A run as a folder for the Hugging Face Hub: the model folder, and a card made from the record."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi

from pipeline.files import staged_folder
from pipeline.model_export.model_card import model_card, read_card_source
from sharedris.checkpoint import CONFIG, TOKENIZER, WEIGHTS, SavedModel
from sharedris.errors import InputError
from sharedris.hub import CARD, FILES


def write_hub_folder(saved: SavedModel, runs_root: Path, folder: Path) -> list[Path]:
    """Write the four files, all or none, and return their paths.

    Raises:
        InputError: when the run has no record, or the folder holds other files: exactly its content is pushed.
    """
    card = model_card(read_card_source(runs_root, saved.run_id))
    strange = [path.name for path in folder.iterdir() if path.name not in FILES] if folder.is_dir() else []
    if strange:
        raise InputError(f"{folder} holds other files: {', '.join(sorted(strange)[:3])}", "Give --out a new folder")
    source = saved.tokenizer_path.parent
    with staged_folder(folder) as staging:
        for name in (WEIGHTS, CONFIG, TOKENIZER):
            (staging / name).write_bytes((source / name).read_bytes())
        (staging / CARD).write_text(card)
    return [folder / name for name in FILES]


def push_folder(folder: Path, repo_id: str, *, private: bool = True) -> str:
    """Upload exactly the files of a folder, and return the address of the commit.

    Raises:
        InputError: when the Hub refuses or does not answer.
    """
    api = HfApi()
    try:
        name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        done = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message=f"Add {folder.name}", allow_patterns=list(FILES)
        )
    except Exception as error:  # its own errors, and those of the HTTP library that its version is built on
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{repo_id} was not pushed: {reason}", f"Log in by `hf auth login`; {folder} is complete and stays"
        ) from None
    return str(done)
