"""Words that a tokenizer does not know are counted, and sentences without words are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharedris.sentencepiece_tokenizer import SentencePieceTokenizer, train_tokenizer
from sharedris.tokenizer import Tokenizer, has_words
from sharedris.tokenizers import open_tokenizer

SENTENCES = [f"the {color} {shape}" for color in ("red", "green", "blue") for shape in ("circle", "square")]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "red", "circle", "green"]


@pytest.fixture(scope="module", params=["sentencepiece", "wordpiece"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("words") / "file"
    if request.param == "wordpiece":
        path.write_text("\n".join(VOCABULARY) + "\n")
    else:
        train_tokenizer(SENTENCES, path, 1024)
    return open_tokenizer(path, 12)


def test_known_words_are_counted(tokenizer: Tokenizer) -> None:
    found = tokenizer.unknown_pieces(["the red circle", "the green circle"])
    assert str(found) == "0 of 6 pieces unknown"
    assert found.texts == ()


@pytest.mark.parametrize("sentence", ["the 犬", "the 犬 🙂 \ud800"])
def test_unknown_words_are_counted_and_named(sentence: str, tokenizer: Tokenizer) -> None:
    found = tokenizer.unknown_pieces([sentence, "the red circle"])
    assert found.unknown >= 1
    assert "犬" in "".join(found.texts)
    assert f"{found.unknown} of {found.pieces} pieces unknown ('" in str(found)
    assert found.pieces == len(tokenizer.pieces(sentence)) + 3


def test_capitals_of_a_lower_case_vocabulary_are_named(tmp_path: Path) -> None:
    train_tokenizer(SENTENCES, tmp_path / "t.model", 1024)
    found = SentencePieceTokenizer(tmp_path / "t.model", 12).unknown_pieces(["The Red Circle"])
    assert found.unknown == 3
    assert str(found).endswith("pieces unknown ('T', 'R', 'C'); in lower case 0")


@pytest.mark.parametrize("other", ["The Red Circle", "THE RED CIRCLE"])
def test_a_lower_case_tokenizer_reads_capitals_and_has_another_fingerprint(other: str, tmp_path: Path) -> None:
    train_tokenizer(SENTENCES, tmp_path / "plain.model", 1024)
    train_tokenizer(SENTENCES, tmp_path / "lower.model", 1024, lower_case=True)
    plain, lower = (SentencePieceTokenizer(tmp_path / f"{name}.model", 12) for name in ("plain", "lower"))
    assert np.array_equal(lower.encode(other)[0], lower.encode("the red circle")[0])
    assert np.array_equal(lower.encode("the red circle")[0], plain.encode("the red circle")[0])
    assert not lower.unknown_pieces([other]).unknown
    assert lower.fingerprint != plain.fingerprint


@pytest.mark.parametrize("sentence", ["", " \t\n", "?!..."])
def test_what_has_no_words(sentence: str) -> None:
    assert not has_words(sentence)
    assert has_words(f"{sentence} 犬")
    assert has_words(f"a{sentence}")
