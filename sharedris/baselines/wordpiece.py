"""BERT's word pieces, by Hugging Face's tokenizers: the input of table VI's dual encoders with pretrained weights.

The file is BERT's `vocab.txt`: one piece per line, its id the number of the line.
"""

from __future__ import annotations

from pathlib import Path

from sharedris.errors import InputError
from sharedris.regular_file import open_regular
from sharedris.tokenizer import Tokenizer

PADDING, UNKNOWN, CLASS, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


def is_vocabulary(path: Path) -> bool:
    """Return whether a file begins as BERT's vocabularies do."""
    try:
        with open_regular(path) as stream:
            return stream.read(len(PADDING) + 1).rstrip() == PADDING.encode()
    except (InputError, OSError):
        return False


class WordPieceTokenizer(Tokenizer):
    """BERT's uncased vocabulary with a fixed sequence length: `[CLS]`, at most T - 2 pieces, `[SEP]`, padding."""

    remedy = "Give the vocab.txt of bert-base-uncased"

    @property
    def vocabulary_size(self) -> int:
        """Number of ids; the embedding table must have as many rows or more."""
        return len(self._ids)

    def _read(self, content: bytes) -> None:
        from tokenizers import BertWordPieceTokenizer  # imported here: most runs do not need it

        try:
            # Not `splitlines`: a piece may be a character that Unicode counts as a line break.
            lines = content.decode("utf-8").replace("\r\n", "\n").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path} is not a vocabulary of BERT: {error}", self.remedy) from None
        self._ids = {piece: index for index, piece in enumerate(lines)}
        lacking = [piece for piece in (PADDING, UNKNOWN, CLASS, END) if piece not in self._ids]
        if lacking or len(self._ids) != len(lines):
            what = f"lacks {', '.join(lacking)}" if lacking else "has a piece twice"
            raise InputError(f"{self.path} is not a vocabulary of BERT: it {what}", self.remedy)
        self.class_id, self.padding_id, self.end_id = (self._ids[piece] for piece in (CLASS, PADDING, END))
        self._pieces = BertWordPieceTokenizer(self._ids, lowercase=True)

    def _word_ids(self, sentence: str) -> list[int]:
        ids: list[int] = self._pieces.encode(sentence, add_special_tokens=False).ids
        return ids

    def _cut(self, sentence: str) -> list[tuple[str, str | None]]:
        cut = self._pieces.encode(sentence, add_special_tokens=False)
        return [
            (piece, sentence[start:end] if piece == UNKNOWN else None)
            for piece, (start, end) in zip(cut.tokens, cut.offsets, strict=True)
        ]
