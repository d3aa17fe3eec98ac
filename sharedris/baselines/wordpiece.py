"""BERT's word pieces, by Hugging Face's tokenizers: what the dual encoders of table VI read once they have weights.

The file is the `vocab.txt` beside a BERT: a piece a line, its id the number of the line.
"""

from __future__ import annotations

from pathlib import Path

from sharedris.errors import InputError
from sharedris.tokenizer import Tokenizer

PADDING, UNKNOWN, CLASS, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
REMEDY = "Give the vocab.txt of bert-base-uncased"


def is_vocabulary(path: Path) -> bool:
    """Return whether a file begins as BERT's vocabularies do."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(PADDING) + 1).rstrip() == PADDING.encode()
    except OSError:
        return False


class WordPieceTokenizer(Tokenizer):
    """BERT's uncased vocabulary with a fixed sequence length: `[CLS]`, at most T - 2 pieces, `[SEP]`, padding."""

    def _read(self, content: bytes) -> None:
        from tokenizers import BertWordPieceTokenizer  # here: most runs have no use for it

        try:
            # Not `splitlines`: a piece may be a character that Unicode takes for the end of a line.
            lines = content.decode("utf-8").replace("\r\n", "\n").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path} is no vocabulary: {error}", REMEDY) from None
        self._ids = {piece: index for index, piece in enumerate(lines)}
        lacking = [piece for piece in (PADDING, UNKNOWN, CLASS, END) if piece not in self._ids]
        if lacking or len(self._ids) != len(lines):
            what = f"lacks {', '.join(lacking)}" if lacking else "has a piece twice"
            raise InputError(f"{self.path} is no vocabulary of BERT: it {what}", REMEDY)
        self.class_id, self.padding_id, self.end_id = (self._ids[piece] for piece in (CLASS, PADDING, END))
        self._pieces = BertWordPieceTokenizer(self._ids, lowercase=True)

    @property
    def vocabulary_size(self) -> int:
        """Number of ids; the embedding table must have as many rows or more."""
        return len(self._ids)

    @property
    def mask_id(self) -> int:
        """Id of `[MASK]`."""
        return self._ids["[MASK]"]

    def pieces(self, sentence: str) -> list[str]:
        """Return the pieces of a sentence, uncut."""
        return self._pieces.encode(sentence, add_special_tokens=False).tokens

    def _word_ids(self, sentence: str) -> list[int]:
        return self._pieces.encode(sentence, add_special_tokens=False).ids
