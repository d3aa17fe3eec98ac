"""Sentences to ids: what the model expects of a tokenizer, whatever library cuts the words.

`sharedris/sentencepiece_tokenizer.py` reads BEiT-3's kind of file, `sharedris/baselines/wordpiece.py` BERT's;
`sharedris/tokenizers.py` opens either.
"""

from __future__ import annotations

import abc
import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from sharedris.errors import InputError
from sharedris.regular_file import read_regular

MAX_CHARACTERS = 10_000
"""A sentence is cut here before a tokenizer sees it: no referring expression is a tenth as long."""

MOST_BYTES = 64 << 20
"""A tokenizer file is at most this large; BEiT-3's has 1.2 MB."""


class Tokenizer(abc.ABC):
    """A tokenizer with a fixed sequence length.

    Args:
        path: the tokenizer's file.
        text_tokens: T, the length of every sequence: class token, at most T - 2 pieces, end token, padding.

    Attributes:
        fingerprint: first 16 hexadecimal digits of the file's SHA-256.

    Raises:
        InputError: when the file is missing or is not of this tokenizer's format.
    """

    class_id: int
    padding_id: int
    end_id: int
    remedy: ClassVar[str]

    def __init__(self, path: Path | str, text_tokens: int) -> None:
        self.path = Path(path)
        self.text_tokens = text_tokens
        if text_tokens < 3:  # class token, a piece, end token
            raise ValueError(f"text_tokens: {text_tokens} leaves no room for a word")
        try:
            content = read_regular(self.path, most_bytes=MOST_BYTES)
        except InputError as error:
            raise InputError(f"the tokenizer {error.message}", self.remedy) from None
        self._read(content)
        self.fingerprint = hashlib.sha256(content).hexdigest()[:16]

    @property
    @abc.abstractmethod
    def vocabulary_size(self) -> int:
        """Number of ids in use; the embedding table must have as many rows or more."""

    @abc.abstractmethod
    def pieces(self, sentence: str) -> list[str]:
        """Return the pieces of a sentence, without a limit on their number."""

    def encode(self, sentence: str) -> tuple[np.ndarray, np.ndarray]:
        """Return ids, int64 [T], and padding, bool [T], True where padded; pieces beyond T - 2 are cut."""
        # Lone surrogates cannot be encoded as UTF-8, the only encoding that the libraries read.
        readable = sentence[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        words = self._word_ids(readable)[: self.text_tokens - 2]
        ids = np.full(self.text_tokens, self.padding_id, dtype=np.int64)
        ids[: len(words) + 2] = [self.class_id, *words, self.end_id]
        padding = np.arange(self.text_tokens) >= len(words) + 2
        return ids, padding

    @abc.abstractmethod
    def _read(self, content: bytes) -> None:
        """Read the file's content; raise an InputError when it has another format."""

    @abc.abstractmethod
    def _word_ids(self, sentence: str) -> list[int]:
        """Return the ids of a sentence's pieces, without class and end token."""
