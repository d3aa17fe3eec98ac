"""Open a tokenizer file of either kind, and check it against a model."""

from __future__ import annotations

from pathlib import Path

from sharedris.baselines.wordpiece import WordPieceTokenizer, is_vocabulary
from sharedris.errors import InputError
from sharedris.sentencepiece_tokenizer import SentencePieceTokenizer
from sharedris.tokenizer import Tokenizer


def open_tokenizer(path: Path | str, text_tokens: int) -> Tokenizer:
    """Return the tokenizer that a file holds: a sentencepiece model, or BERT's vocabulary of word pieces.

    Raises:
        InputError: when the file is missing or is neither.
    """
    kind = WordPieceTokenizer if is_vocabulary(Path(path)) else SentencePieceTokenizer
    return kind(path, text_tokens)


def require_fit(tokenizer: Tokenizer, vocabulary_size: int) -> None:
    """Check that every id of the tokenizer has a row in the model's embedding table.

    Raises:
        InputError: when an id has no row.
    """
    if tokenizer.vocabulary_size > vocabulary_size:
        raise InputError(
            f"{tokenizer.path} uses {tokenizer.vocabulary_size} ids, the model has {vocabulary_size}",
            "Use the tokenizer that the model was trained with, or a model with a larger vocabulary",
        )
