"""The page's tokenizer and resize are those of the Python code, bit for bit: run by node on the same input."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from torch.nn import functional

from pipeline.demo.page import TEMPLATES
from sharedris.image_input import resize_image
from sharedris.sentencepiece_tokenizer import SentencePieceTokenizer, train_tokenizer

TOKENS = 20
PLACES = ("on the left", "left of the naïve man", "behind 2 cars", "日本")
CORPUS = [
    f"the {color} {thing} {place}" for color in ("red", "blue") for thing in ("dog", "sofa", "Café") for place in PLACES
]
ODD = [
    *("", " ", "  left  dog ", "THE Ｄｏｇ！", "ﬁne ½ ㍿ ①", "a\tb\nc\r\n d", "日本語の犬", "e\u0301 é"),
    *("\u200bzero\u200dwidth", "😀 dog 👨‍👩‍👧", "\u2581left \u2581", "<unk> <s> </s>", "x" * 200, "a\ud800b"),
    *("\ufeffbom", "\u00a0no\u3000break", "ǅ Ω Å ſ", "한국어 가각", "zzzqqq !!! ???", "\x00\x01control\x7f", "ﷺ"),
    *("“quotes” …", "ẛ̣", "ﾊﾟｶﾞ", "left of of dog dog", "red " * 30),
]


def node(script: str, values: Any) -> Any:
    """What a script of the page computes; it is given values as JSON on its standard input."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    read = "const values = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
    done = subprocess.run(
        ["node", "-e", f"{read}\nprocess.stdout.write(JSON.stringify({script}))"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tokenizers(folder: Path) -> list[Path]:
    """Ours (BPE), one in lower case, BEiT-3's kind (unigram), and one with user's symbols, bytes and all spaces."""
    train_tokenizer(CORPUS, folder / "bpe.model", 300)
    train_tokenizer(CORPUS, folder / "lower.model", 300, lower_case=True)
    for name, options in (
        ("unigram", {}),
        ("bytes", {"byte_fallback": True, "vocab_size": 400}),
        ("symbols", {"user_defined_symbols": ["dog", "left of"], "remove_extra_whitespaces": False}),
    ):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS),
            model_writer=model,
            model_type="unigram",
            hard_vocab_limit=False,
            pad_id=-1,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            minloglevel=2,
            **{"vocab_size": 200, **options},
        )
        (folder / f"{name}.model").write_bytes(model.getvalue())
    return sorted(folder.glob("*.model"))


def test_the_page_reads_sentences_as_sentencepiece(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    letters = list("abcdefgh  leftrightdog▁éΩ日①ﬁ😀\t\u3000\u0301ＡＢ\u1e9b\ufe0f\u1100\u1161")
    random = ["".join(generator.choice(letters, generator.integers(1, 40))) for _ in range(100)]
    sentences = [*CORPUS, *ODD, *random]
    files = tokenizers(tmp_path)
    script = (
        f"values.files.map((file) => {{ const {{ Tokenizer }} = require({json.dumps(str(TEMPLATES / 'tokenizer.js'))});"
        f"const read = new Tokenizer(new Uint8Array(require('fs').readFileSync(file)), {TOKENS});"
        "return values.sentences.map((sentence) => read.encode(sentence)); })"
    )
    found = node(script, {"files": [str(path) for path in files], "sentences": sentences})
    assert len(found) == 5
    for path, encoded in zip(files, found, strict=True):
        tokenizer = SentencePieceTokenizer(path, TOKENS)
        for sentence, page in zip(sentences, encoded, strict=True):
            ids, padding = tokenizer.encode(sentence)
            assert (page["ids"], page["padding"]) == (ids.tolist(), padding.tolist()), (path.name, sentence)
            assert page["pieces"] == len(tokenizer.pieces(sentence)), (path.name, sentence)
            assert len(page["unknown"]) == tokenizer.unknown_pieces([sentence]).unknown, (path.name, sentence)


def test_the_page_resizes_pictures_and_maps_as_torch() -> None:
    generator = np.random.default_rng(0)
    sizes = [(96, 128, 64), (64, 64, 64), (64, 100, 64), (33, 47, 64), (240, 320, 48), (7, 5, 64), (1, 1, 16)]
    cases, expected = [], []
    for height, width, size in sizes:
        image_HWC = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image_HWC[: height // 2] = generator.choice([0, 255], (height // 2, width, 3))  # overshoots are cut off
        text = base64.b64encode(image_HWC.tobytes()).decode()
        cases.append({"rgb": text, "width": width, "height": height, "size": size})
        expected.append(resize_image(image_HWC, size).flatten().tolist())
    source = json.dumps(str(TEMPLATES / "image.js"))
    bytes_of = "new Uint8Array(Buffer.from(each.rgb, 'base64'))"
    call = f"resizeToPlanes({bytes_of}, each.width, each.height, each.size)"
    script = f"values.map((each) => Array.from(require({source}).{call}))"
    assert node(script, cases) == expected
    map_HW = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    script = f"Array.from(require({source}).resizeBilinear(values, 8, 30, 13))"
    resized = functional.interpolate(map_HW[None, None], (13, 30), mode="bilinear").flatten()
    assert torch.allclose(torch.tensor(node(script, map_HW.flatten().tolist())), resized, atol=1e-6)
