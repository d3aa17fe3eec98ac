"""Sentences to ids: any sentencepiece model under the XLM-R convention that BEiT-3's weights expect.

`<s>` 0 (the text class token), `<pad>` 1, `</s>` 2, `<unk>` 3, every other id = sentencepiece id + 1, and `<mask>`
after the last: 64001 for BEiT-3's own model of 64,000 pieces. BERT's word pieces are in `baselines/wordpiece.py`.
"""

from __future__ import annotations

import hashlib
import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import sentencepiece

from sharedris.errors import InputError

CLASS_ID, PADDING_ID, END_ID, UNKNOWN_ID = 0, 1, 2, 3
OFFSET = 1
MASK_TOKENS = 1
MAX_CHARACTERS = 10_000
"""A sentence is cut here before sentencepiece sees it: no referring expression is a tenth as long."""

REMEDY = "Give BEiT-3's beit3.spm or the tokenizer.model of a prepared set"


class Tokenizer:
    """A sentencepiece model with a fixed sequence length.

    Args:
        path: the `.model` or `.spm` file.
        text_tokens: T, the length of every sequence: class token, at most T - 2 pieces, end token, padding.

    Raises:
        InputError: when the file is missing or is no sentencepiece model.
    """

    class_id, padding_id, end_id = CLASS_ID, PADDING_ID, END_ID

    def __init__(self, path: Path | str, text_tokens: int) -> None:
        self.path = Path(path)
        self.text_tokens = text_tokens
        if text_tokens < 3:  # class token, a piece, end token
            raise ValueError(f"text_tokens: {text_tokens} leaves no room for a word")
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read the tokenizer {self.path}: {error.strerror}", REMEDY) from None
        self._read(content)
        self.fingerprint = hashlib.sha256(content).hexdigest()[:16]

    def _read(self, content: bytes) -> None:
        """Take the file's content."""
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=content)
        except (RuntimeError, ValueError):
            raise InputError(f"{self.path} is not a sentencepiece model", REMEDY) from None
        if not content or self._model.get_piece_size() == 0:
            raise InputError(f"{self.path} is not a sentencepiece model", REMEDY)
        self._unknown = self._model.unk_id()

    @property
    def vocabulary_size(self) -> int:
        """Number of ids in use, `<mask>` included; the embedding table must have as many rows or more."""
        return self._model.get_piece_size() + OFFSET + MASK_TOKENS

    @property
    def mask_id(self) -> int:
        """Id of `<mask>`, the last in use."""
        return self.vocabulary_size - 1

    def pieces(self, sentence: str) -> list[str]:
        """Return the pieces of a sentence, uncut."""
        return self._model.encode(sentence[:MAX_CHARACTERS], out_type=str)

    def encode(self, sentence: str) -> tuple[np.ndarray, np.ndarray]:
        """Return ids, int64 [T], and padding, bool [T], True where padded; pieces beyond T - 2 are cut."""
        # Lone surrogates cannot be encoded as UTF-8, which is all that the libraries read.
        readable = sentence[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        words = self._word_ids(readable)[: self.text_tokens - 2]
        ids = np.full(self.text_tokens, self.padding_id, dtype=np.int64)
        ids[: len(words) + 2] = [self.class_id, *words, self.end_id]
        padding = np.arange(self.text_tokens) >= len(words) + 2
        return ids, padding

    def _word_ids(self, sentence: str) -> list[int]:
        pieces = self._model.encode(sentence, out_type=int)
        return [UNKNOWN_ID if piece == self._unknown else piece + OFFSET for piece in pieces]


def train_tokenizer(sentences: Iterable[str], path: Path, vocabulary_size: int) -> None:
    """Train a BPE sentencepiece model on sentences and write it; the same sentences give the same file.

    Args:
        sentences: the training expressions.
        path: file to write, in one step.
        vocabulary_size: at most this many ids, offset and `<mask>` included; a small corpus gives fewer.

    Raises:
        InputError: when there is nothing to train on.
    """
    corpus = [unicodedata.normalize("NFKC", sentence).strip() for sentence in sentences]
    corpus = [sentence for sentence in corpus if sentence]
    if not corpus:
        raise InputError("no sentences to train a tokenizer on", "Check that the training split has expressions")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=model,
        vocab_size=vocabulary_size - OFFSET - MASK_TOKENS,
        hard_vocab_limit=False,
        model_type="bpe",  # unigram falls apart into letters on a small corpus: 96 % of toyg_umd would not fit into T
        character_coverage=1.0,
        num_threads=1,  # the order of threads would change the model
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(model.getvalue())
    partial.replace(path)
