"""XLM-R ids over any sentencepiece model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from sharedris.config import EncoderConfig
from sharedris.errors import InputError
from sharedris.scales import tiny
from sharedris.sentencepiece_tokenizer import SentencePieceTokenizer, train_tokenizer
from sharedris.tokenizers import require_fit

SENTENCES = [f"the {size} {color} {shape}" for size in ("small", "large") for color in ("red", "green", "blue")
             for shape in ("circle", "square", "triangle")]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    train_tokenizer(SENTENCES, path, 1024)
    return path


def test_ids_are_sentencepiece_plus_one_between_class_and_end(path: Path) -> None:
    ids, padding = SentencePieceTokenizer(path, 20).encode("the small red circle")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path)).encode("the small red circle")
    used = len(pieces) + 2
    assert ids[0] == 0
    assert list(ids[1 : used - 1]) == [piece + 1 for piece in pieces]
    assert ids[used - 1] == 2
    assert set(ids[used:]) <= {1}
    assert padding.tolist() == [False] * used + [True] * (20 - used)
    assert (ids.dtype, padding.dtype) == (np.int64, np.bool_)


def test_long_sentences_are_cut_and_still_end(path: Path) -> None:
    ids, padding = SentencePieceTokenizer(path, 8).encode("the small red circle " * 5000)
    assert (ids[0], ids[-1], len(ids)) == (0, 2, 8)
    assert not padding.any()


def test_empty_sentence(path: Path) -> None:
    ids, padding = SentencePieceTokenizer(path, 6).encode("   ")
    assert ids.tolist() == [0, 2, 1, 1, 1, 1]
    assert padding.tolist() == [False, False, True, True, True, True]


@pytest.mark.parametrize("sentence", ["犬", "ß🙂", "\ud800", "\x00"])
def test_unknown_characters_are_unk_or_nothing(path: Path, sentence: str) -> None:
    ids, _ = SentencePieceTokenizer(path, 8).encode(sentence)
    assert ids[0] == 0
    assert 2 in ids


def test_an_unknown_character_is_three(path: Path) -> None:
    assert 3 in SentencePieceTokenizer(path, 8).encode("犬")[0]


@given(st.text(max_size=60))
def test_any_text_gives_ids_in_range(path: Path, sentence: str) -> None:
    tokenizer = SentencePieceTokenizer(path, 12)
    ids, padding = tokenizer.encode(sentence)
    assert ids.min() >= 0
    assert ids.max() < tokenizer.vocabulary_size - 1  # the last is <mask>
    assert ids[~padding][-1] == 2
    assert (ids[padding] == 1).all()


def test_training_is_deterministic_and_fits_tiny(path: Path, tmp_path: Path) -> None:
    train_tokenizer(SENTENCES, tmp_path / "again.model", 1024)
    assert (
        SentencePieceTokenizer(tmp_path / "again.model", 20).fingerprint == SentencePieceTokenizer(path, 20).fingerprint
    )
    require_fit(SentencePieceTokenizer(path, 20), tiny().encoder.vocabulary_size)


def test_beit3_ids_fit_its_table() -> None:
    class OfficialSize:
        path, vocabulary_size = Path("beit3.spm"), 64000 + 2

    require_fit(OfficialSize(), EncoderConfig().vocabulary_size)  # type: ignore[arg-type]
    assert OfficialSize.vocabulary_size - 1 == 64001  # the id of <mask>
    with pytest.raises(InputError, match="64002 ids, the model has 1024"):
        require_fit(OfficialSize(), 1024)  # type: ignore[arg-type]


def test_mask_is_the_last_id(path: Path) -> None:
    tokenizer = SentencePieceTokenizer(path, 20)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path)).get_piece_size()
    assert tokenizer.vocabulary_size == pieces + 2 <= 1024


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    wrong = tmp_path / "tokenizer.model"
    if content is not None:
        wrong.write_bytes(content)
    with pytest.raises(InputError, match="tokenizer"):
        SentencePieceTokenizer(wrong, 20)


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sentences"):
        train_tokenizer(["", "  "], tmp_path / "tokenizer.model", 1024)


@pytest.mark.parametrize(
    "sentences", [["red " * 2000], ["".join(map(chr, range(0x4E00 + 50 * n, 0x4E32 + 50 * n))) for n in range(30)]]
)
def test_sentences_that_sentencepiece_refuses(sentences: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tokenizer can be trained .* Give --tokenizer"):
        train_tokenizer(sentences, tmp_path / "t.model", 1024)
    assert not list(tmp_path.iterdir())
