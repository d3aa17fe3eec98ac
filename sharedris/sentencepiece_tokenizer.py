"""Any sentencepiece model under the XLM-R convention that BEiT-3's weights expect.

`<s>` 0 (the text class token), `<pad>` 1, `</s>` 2, `<unk>` 3, every other id = sentencepiece id + 1, and `<mask>`
after the last: 64001 for BEiT-3's own model of 64,000 pieces.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from sharedris.errors import InputError
from sharedris.tokenizer import Tokenizer

CLASS_ID, PADDING_ID, END_ID, UNKNOWN_ID = 0, 1, 2, 3
OFFSET = 1
MASK_TOKENS = 1


class SentencePieceTokenizer(Tokenizer):
    """A sentencepiece model: a `.model` or `.spm` file."""

    class_id, padding_id, end_id = CLASS_ID, PADDING_ID, END_ID
    remedy = "Give BEiT-3's beit3.spm or the tokenizer.model of a prepared set"

    @property
    def vocabulary_size(self) -> int:
        """Number of ids in use, `<mask>` included; the embedding table must have as many rows or more."""
        pieces: int = self._model.get_piece_size()
        return pieces + OFFSET + MASK_TOKENS

    def _read(self, content: bytes) -> None:
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=content)
        except (RuntimeError, ValueError):
            raise InputError(f"{self.path} is not a sentencepiece model", self.remedy) from None
        if not content or self._model.get_piece_size() == 0:
            raise InputError(f"{self.path} is not a sentencepiece model", self.remedy)
        self._unknown = self._model.unk_id()

    def _word_ids(self, sentence: str) -> list[int]:
        pieces = self._model.encode(sentence, out_type=int)
        return [UNKNOWN_ID if piece == self._unknown else piece + OFFSET for piece in pieces]

    def _cut(self, sentence: str) -> list[tuple[str, str | None]]:
        pieces, ids = self._model.encode(sentence, out_type=str), self._model.encode(sentence, out_type=int)
        return [(piece, piece if number == self._unknown else None) for piece, number in zip(pieces, ids, strict=True)]


def train_tokenizer(sentences: Iterable[str], path: Path, vocabulary_size: int, *, lower_case: bool = False) -> None:
    """Train a BPE sentencepiece model on sentences and write it; the same sentences give the same file.

    The normalization of sentences is stored in the file, so the fingerprint of a tokenizer covers it.

    Args:
        sentences: the training expressions.
        path: file to write, in one step.
        vocabulary_size: at most this many ids, offset and `<mask>` included; a small corpus gives fewer.
        lower_case: read all sentences in lower case, here and whenever the tokenizer is used.

    Raises:
        InputError: when no sentence is left to train on, or sentencepiece refuses them: too long, or of more letters
            than `vocabulary_size`.
    """
    corpus = [unicodedata.normalize("NFKC", sentence).strip() for sentence in sentences]
    corpus = [sentence for sentence in corpus if sentence]
    if not corpus:
        raise InputError("no sentences to train a tokenizer on", "Check that the training split has expressions")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus),
            model_writer=model,
            vocab_size=vocabulary_size - OFFSET - MASK_TOKENS,
            hard_vocab_limit=False,
            model_type="bpe",  # unigram splits a small corpus into letters: 96 % of toyg_umd would not fit into T
            character_coverage=1.0,
            num_threads=1,  # the order of threads would change the model
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            minloglevel=2,
            normalization_rule_name="nmt_nfkc_cf" if lower_case else "nmt_nfkc",
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        remedy = "Give --tokenizer, or shorter sentences of fewer different letters"
        raise InputError(f"no tokenizer can be trained on these sentences (sentencepiece: {reason})", remedy) from None
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(model.getvalue())
    partial.replace(path)
