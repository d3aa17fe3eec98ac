"""Small sets on disk for the data tests: the three synthetic flavours and a REFER root to break."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer, read_training_sentences
from pipeline.data.synthetic.writer import FLAVOUR_OF, write_synthetic
from tests.pipeline.data.refer_root import ReferRoot


@pytest.fixture(scope="session")
def toys_refer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A REFER root with the three synthetic sets, which share their images."""
    root = tmp_path_factory.mktemp("toys") / "refer"
    for name in FLAVOUR_OF:
        write_synthetic(root, name, expressions=120, seed=3)
    return root


@pytest.fixture(scope="session")
def toys(toys_refer: Path) -> Path:
    """The three sets prepared with one tokenizer."""
    out = toys_refer.parent / "prepared"
    sentences = [text for name in sorted(FLAVOUR_OF) for text in read_training_sentences(toys_refer, name)]
    for name in FLAVOUR_OF:
        prepare_source(read_refer(toys_refer, name), out, sentences=sentences)
    return out


@pytest.fixture
def refer_root(tmp_path: Path) -> ReferRoot:
    """The smallest toy_unc, fresh."""
    write_synthetic(tmp_path / "refer", "toy_unc", expressions=40, seed=1)
    return ReferRoot(tmp_path / "refer")
