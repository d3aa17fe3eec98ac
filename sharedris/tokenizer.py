"""Sentences to ids: what the model expects of a tokenizer, whatever library cuts the words.

`sharedris/sentencepiece_tokenizer.py` reads BEiT-3's kind of file, `sharedris/baselines/wordpiece.py` BERT's;
`sharedris/tokenizers.py` opens either.
"""

from __future__ import annotations

import abc
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sharedris.errors import InputError
from sharedris.regular_file import read_regular

MAX_CHARACTERS = 10_000
"""A sentence is cut here before a tokenizer sees it: no referring expression is a tenth as long."""

MOST_BYTES = 64 << 20
"""A tokenizer file is at most this large; BEiT-3's has 1.2 MB."""


_SHOWN_UNKNOWN = 5


def has_words(sentence: str) -> bool:
    """Return whether a sentence has a letter or a digit; one without refers to nothing."""
    return re.search(r"\w", sentence) is not None


@dataclass(frozen=True, kw_only=True)
class UnknownPieces:
    """How much of some sentences a tokenizer replaces by its unknown token.

    Attributes:
        unknown: pieces that were replaced.
        pieces: all pieces.
        texts: the first few different texts that were replaced.
        in_lower_case: pieces that would be replaced if the sentences were written in lower case.
    """

    unknown: int = 0
    pieces: int = 0
    texts: tuple[str, ...] = ()
    in_lower_case: int = 0

    def __str__(self) -> str:
        shown = f" ({', '.join(map(repr, self.texts))})" if self.texts else ""
        case = f"; in lower case {self.in_lower_case}" if self.in_lower_case < self.unknown else ""
        return f"{self.unknown:,} of {self.pieces:,} pieces unknown{shown}{case}"


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

    def pieces(self, sentence: str) -> list[str]:
        """Return the pieces of a sentence, without a limit on their number."""
        return [piece for piece, _ in self._cut(_readable(sentence))]

    def unknown_pieces(self, sentences: Iterable[str]) -> UnknownPieces:
        """Count the pieces of sentences that the tokenizer does not know: the model reads each as the same token."""
        pieces = in_lower_case = 0
        unknown: list[str] = []
        for sentence in map(_readable, sentences):
            cut = self._cut(sentence)
            pieces += len(cut)
            lost = [text for _, text in cut if text is not None]
            if lost:
                unknown += lost
                in_lower_case += sum(text is not None for _, text in self._cut(sentence.lower()))
        texts = tuple(dict.fromkeys(unknown))[:_SHOWN_UNKNOWN]
        return UnknownPieces(unknown=len(unknown), pieces=pieces, texts=texts, in_lower_case=in_lower_case)

    def cuts(self, sentence: str) -> bool:
        """Return whether `encode` cuts a sentence: it has more than T - 2 pieces, and the model never reads its end."""
        return len(self._word_ids(_readable(sentence))) > self.text_tokens - 2

    def encode(self, sentence: str) -> tuple[np.ndarray, np.ndarray]:
        """Return ids, int64 [T], and padding, bool [T], True where padded; pieces beyond T - 2 are cut."""
        words = self._word_ids(_readable(sentence))[: self.text_tokens - 2]
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

    @abc.abstractmethod
    def _cut(self, sentence: str) -> list[tuple[str, str | None]]:
        """Return the pieces of a sentence, each with the text that it replaces because that is unknown, or None."""


def _readable(sentence: str) -> str:
    """Return a sentence that libraries can read: they take only UTF-8, which lone surrogates have no form in."""
    return sentence[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
